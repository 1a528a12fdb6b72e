"""The registry from a real PostgreSQL: every change is in use within two seconds, and an outage costs nobody."""

import asyncio
import json
import threading
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import LiteralString, NamedTuple

import psutil
import pytest

from devservices.kafka import KafkaCluster
from devservices.postgres import PostgresServer
from ingest.clock import SystemClock
from ingest.control.kills import turn_app, turn_global, turn_organization, turn_platform
from ingest.control.organizations import change_app, create_app, revoke_app
from ingest.conversion import Platform
from ingest.db.database import Connection
from ingest.registry.database import DatabaseRegistry
from ingest.registry.document import read_document
from ingest.registry.snapshot import Snapshot
from ingest.transport.sealed import SealKeys
from tests.integration.edge import Answer, ask, await_true, batch, event, figures, new_id
from tests.support.control import KIM, Customer, Plane, customer, execute, operate
from tests.support.service import ServiceProcess

PROMISE_S = 2.0
"""A change is in use everywhere within this time."""

NOTICED_S = 6.0
"""An outage is noticed within this time."""

DRAIN_S = 6.0
COPY = "registry.json"

SILENT: LiteralString = """
    CREATE OR REPLACE FUNCTION raise_registry_version() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    BEGIN
        UPDATE registry_version SET version = version + 1;
        RETURN NULL;
    END $$
"""


class Change(NamedTuple):
    """A change by SQL, and how it shows in the snapshot."""

    statement: LiteralString
    shows: Callable[[Snapshot], bool]


OTHERS: LiteralString = """
    INSERT INTO organizations (id, name, contact) VALUES ('org_b', 'B', 'b@b.example');
    INSERT INTO projects (id, organization_id, name) VALUES ('prj_b', 'org_b', 'B');
    INSERT INTO apps (id, project_id, name) VALUES ('app_b', 'prj_b', 'B');
    INSERT INTO kill_switches (scope, organization_id, reason, actor) VALUES ('organization', 'org_b', 'r', 'a')
"""
CHANGES = (
    Change("UPDATE apps SET kill_switch = true", lambda it: it.apps["app_a"].kill_switch),
    Change("UPDATE apps SET kill_switch = false", lambda it: "app_a" in it.admitted),
    Change("UPDATE apps SET is_active = false", lambda it: not it.apps["app_a"].active),
    Change("UPDATE apps SET is_active = true", lambda it: "app_a" in it.admitted),
    Change("UPDATE apps SET revoked_at = now()", lambda it: not it.apps["app_a"].active),
    Change("UPDATE apps SET revoked_at = NULL", lambda it: "app_a" in it.admitted),
    Change(
        """UPDATE apps SET options = '{"events_per_minute_max": 7}'""",
        lambda it: it.apps["app_a"].events_per_minute_max == 7,
    ),
    Change("UPDATE apps SET environment = 'staging'", lambda it: it.apps["app_a"].environment == "staging"),
    Change(OTHERS, lambda it: "app_b" in it.apps and "app_b" not in it.admitted),
    Change("UPDATE projects SET organization_id = 'org_b'", lambda it: it.apps["app_a"].organization_id == "org_b"),
    Change("INSERT INTO kill_switches (scope, reason, actor) VALUES ('global', 'r', 'a')", lambda it: it.kills.global_),
    Change("DELETE FROM kill_switches", lambda it: set(it.admitted) == {"app_a", "app_b"}),
    Change("DELETE FROM apps WHERE id = 'app_a'", lambda it: set(it.apps) == {"app_b"}),
    Change("TRUNCATE apps CASCADE", lambda it: not it.apps),
)


async def shown(registry: DatabaseRegistry, shows: Callable[[Snapshot], bool], within_s: float = PROMISE_S) -> None:
    """Wait until a change is in use; fails when it is not in time."""
    await asyncio.to_thread(await_true, lambda: shows(registry.current()), "the change is in use", within_s)


@asynccontextmanager
async def following(plane: Plane, copy: Path) -> AsyncIterator[DatabaseRegistry]:
    """Yield a registry that follows a database, as an edge may read it."""
    registry = DatabaseRegistry(plane.serving, copy, SystemClock(), lambda _old, _new: None)
    await registry.start()
    try:
        yield registry
    finally:
        await registry.close()


def edge(plane: Plane, folder: Path, **more: str) -> ServiceProcess:
    """Start an edge over the local log; `more` names settings without their prefix."""
    env = {
        "INGEST_POSTGRES_DSN": plane.serving,
        "INGEST_SPOOL_KEY": SealKeys.generate(),
        "INGEST_DRAIN_TIMEOUT_MS": str(int(DRAIN_S * 1000)),
        **{f"INGEST_{name}": value for name, value in more.items()},
    }
    return ServiceProcess(env, folder=folder)


def send(service: ServiceProcess, app_id: str, timeout_s: float = 5.0) -> Answer:
    """Send one event for an app."""
    return ask(service.url, "/events", batch(event(new_id())), {"X-App-Id": app_id}, timeout_s)


def whoami(service: ServiceProcess, key: str) -> Answer:
    """Ask who a key is."""
    return ask(service.url, "/v1/whoami", headers={"Authorization": f"Bearer {key}"})


def problems(service: ServiceProcess) -> float:
    """Tell how many things are wrong with the registry."""
    return figures(service)["ingest_registry_problems"]


@pytest.fixture
def shop(own_plane: Plane) -> Customer:
    """Provide a customer on a server that the test may hurt."""
    return customer(own_plane.owner, "app_a")


@pytest.mark.parametrize("told", [True, False], ids=["notified", "never notified"])
def test_a_change_by_sql_is_in_use_in_time(control_plane: Plane, tmp_path: Path, *, told: bool) -> None:
    """Whatever an edge decides by is known within the promised time, whether or not a notification arrives."""
    customer(control_plane.owner, "app_a")
    if not told:
        execute(control_plane.owner, SILENT)

    async def follow() -> None:
        async with following(control_plane, tmp_path / COPY) as registry:
            assert set(registry.current().admitted) == {"app_a"}
            for change in CHANGES:
                await asyncio.to_thread(execute, control_plane.owner, change.statement)
                await shown(registry, change.shows)
            assert registry.problems() == ()

    asyncio.run(follow())


def test_an_operators_change_is_in_use_in_time(control_plane: Plane, tmp_path: Path) -> None:
    """New apps, options, kills of all kinds and retirement come by the functions behind the commands."""
    shop = customer(control_plane.owner, "app_a")

    async def follow() -> None:
        async with following(control_plane, tmp_path / COPY) as registry:

            async def make(work: Callable[[Connection], Awaitable[object]]) -> None:
                await asyncio.to_thread(operate, control_plane.owner, work)

            await make(lambda it: create_app(it, shop.project_id, "Two", KIM, app_id="app_b"))
            await shown(registry, lambda it: "app_b" in it.admitted)
            await make(lambda it: change_app(it, "app_b", KIM, environment=None, options={"consent_required": True}))
            await shown(registry, lambda it: it.apps["app_b"].consent_required)
            for killed in (True, False):
                await make(lambda it, killed=killed: turn_app(it, "app_b", KIM, killed=killed, reason="r"))  # type: ignore[misc]
                await shown(registry, lambda it, killed=killed: it.apps["app_b"].kill_switch == killed)  # type: ignore[misc]
                await make(
                    lambda it, killed=killed: turn_organization(  # type: ignore[misc]
                        it, shop.organization_id, KIM, killed=killed, reason="r"
                    )
                )
                await shown(registry, lambda it, killed=killed: bool(it.kills.organizations) == killed)  # type: ignore[misc]
                await make(lambda it, killed=killed: turn_global(it, KIM, killed=killed, reason="r"))  # type: ignore[misc]
                await shown(registry, lambda it, killed=killed: it.kills.global_ == killed)  # type: ignore[misc]
                await make(lambda it, killed=killed: turn_platform(it, Platform.META, KIM, killed=killed, reason="r"))  # type: ignore[misc]
                await shown(registry, lambda it, killed=killed: it.kills.platforms == ({"meta"} if killed else set()))  # type: ignore[misc]
            await make(lambda it: revoke_app(it, "app_b", KIM, reason="r"))
            await shown(registry, lambda it: not it.apps["app_b"].active and "app_a" in it.admitted)

    asyncio.run(follow())


def test_options_that_do_not_hold_up_cost_nobody_else(control_plane: Plane, tmp_path: Path) -> None:
    """An app with options that nobody can read is served without them, and kills go on arriving."""
    customer(control_plane.owner, "app_a")

    async def follow() -> None:
        async with following(control_plane, tmp_path / COPY) as registry:
            for options in ('{"web_url": "ftp://x"}', '{"events_per_minute_max": 1e400}', '{"no_such_option": 1}'):
                statement: LiteralString = "UPDATE apps SET options = %s::jsonb"
                await asyncio.to_thread(execute, control_plane.owner, statement, (options,))
                await shown(registry, lambda _: bool(registry.problems()))
                assert set(registry.current().admitted) == {"app_a"}
                await asyncio.to_thread(execute, control_plane.owner, "UPDATE apps SET options = '{}'")
                await shown(registry, lambda _: not registry.problems())
                assert registry.current().complete

    asyncio.run(follow())


def test_a_failover_that_lost_changes_is_noticed(control_plane: Plane, tmp_path: Path) -> None:
    """A server that took over with an older state, and has reached the same version again, is read afresh."""
    customer(control_plane.owner, "app_a")

    async def follow() -> None:
        async with following(control_plane, tmp_path / COPY) as registry:
            await asyncio.to_thread(execute, control_plane.owner, "UPDATE apps SET kill_switch = true")
            await shown(registry, lambda it: "app_a" not in it.admitted)
            other: LiteralString = """
                SET session_replication_role = replica;
                UPDATE apps SET kill_switch = false;
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ingest-registry'
                    AND datname = current_database()
            """
            await asyncio.to_thread(execute, control_plane.owner, other)
            await shown(registry, lambda it: "app_a" in it.admitted and it.complete, NOTICED_S)

    asyncio.run(follow())


def test_the_copy_on_disk_is_private_and_always_whole(control_plane: Plane, tmp_path: Path) -> None:
    """Whoever reads the copy while it changes reads a whole registry; nobody else on the machine may."""
    customer(control_plane.owner, "app_a")
    copy, ended, seen = tmp_path / COPY, threading.Event(), set[str]()

    def read_on() -> None:
        while not ended.is_set():
            seen.add(read_document(copy.read_bytes(), 0, complete=True).snapshot.version)

    async def follow() -> None:
        async with following(control_plane, copy) as registry:
            reader = asyncio.create_task(asyncio.to_thread(read_on))
            for _ in range(20):
                before = registry.current().version
                statement: LiteralString = "UPDATE apps SET name = %s"
                await asyncio.to_thread(execute, control_plane.owner, statement, ("x" * 200,))
                await shown(registry, lambda it, before=before: it.version != before)  # type: ignore[misc]
            version = registry.current().version
            written = lambda: json.loads(copy.read_bytes())["version"] == int(version)  # noqa: E731 - it is named
            await asyncio.to_thread(await_true, written, "the copy is current", PROMISE_S)
            ended.set()
            await reader

    asyncio.run(follow())

    assert len(seen) > 1
    assert copy.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [COPY]


def test_a_copy_that_cannot_be_written_stops_nothing(control_plane: Plane, tmp_path: Path) -> None:
    """The registry is current all the same, and no half-made copies pile up."""
    customer(control_plane.owner, "app_a")
    copy = tmp_path / COPY
    copy.mkdir()

    async def follow() -> None:
        async with following(control_plane, copy) as registry:
            for killed in (True, False):
                statement: LiteralString = "UPDATE apps SET kill_switch = %s"
                await asyncio.to_thread(execute, control_plane.owner, statement, (killed,))
                await shown(registry, lambda it, killed=killed: ("app_a" in it.admitted) != killed)  # type: ignore[misc]

    asyncio.run(follow())

    assert [path.name for path in tmp_path.iterdir()] == [COPY]


@pytest.fixture
def two_workers(
    control_plane: Plane, kafka: KafkaCluster, topic_prefix: str, valkey_url: str, tmp_path: Path
) -> Iterator[ServiceProcess]:
    """Run two workers on one database that knows `app_a`."""
    customer(control_plane.owner, "app_a")
    more = {
        "KAFKA_BOOTSTRAP": kafka.bootstrap,
        "KAFKA_ALLOW_SINGLE_COPY": "true",
        "TOPIC_PREFIX": topic_prefix,
        "REDIS_URL": valkey_url,
        "WORKERS": "2",
    }
    with edge(control_plane, tmp_path, **more) as service:
        await_true(lambda: len(psutil.Process(service.pid).children()) == 2, "both run")
        await_true(lambda: all(send(service, "app_a").status == 202 for _ in range(8)), "both serve")
        yield service


def test_a_kill_is_in_force_in_every_worker(two_workers: ServiceProcess, control_plane: Plane) -> None:
    """Each worker by itself, the other one standing still, refuses a killed app and takes one that is lifted."""
    for killed, status in ((True, 503), (False, 202)):
        execute(control_plane.owner, "UPDATE apps SET kill_switch = %s", (killed,))
        await_true(
            lambda status=status: {send(two_workers, "app_a").status for _ in range(6)} == {status},  # type: ignore[misc]
            "the switch is turned",
            PROMISE_S,
        )
        for worker in psutil.Process(two_workers.pid).children():
            worker.suspend()
            try:
                answers = [send(two_workers, "app_a") for _ in range(4)]
            finally:
                worker.resume()
            assert {answer.status for answer in answers} == {status}
            assert {answer.code for answer in answers} == ({"KILL_SWITCH"} if killed else {""})


def test_an_edge_serves_from_what_it_knew(
    own_postgres: PostgresServer, own_plane: Plane, shop: Customer, tmp_path: Path
) -> None:
    """With the database killed, the known are served, the killed refused, the unknown asked to come again."""
    execute(own_plane.owner, "INSERT INTO apps SELECT 'app_off', project_id, name FROM apps")
    execute(own_plane.owner, "UPDATE apps SET kill_switch = true WHERE id = 'app_off'")
    with edge(own_plane, tmp_path) as service:
        assert send(service, "app_new").status == 401
        own_postgres.kill()
        await_true(lambda: problems(service) > 0, "the outage is noticed", NOTICED_S)
        known, unknown, killed = send(service, "app_a"), send(service, "app_new"), send(service, "app_off")

        assert known.status == 202
        assert (unknown.status, unknown.code) == (503, "UNAVAILABLE")
        assert int(unknown.headers["retry-after"]) > 0
        assert (killed.status, killed.code) == (503, "KILL_SWITCH")
        assert (whoami(service, shop.key).status, whoami(service, shop.key).code) == (503, "UNAVAILABLE")

        own_postgres.restart()
        await_true(lambda: problems(service) == 0, "the database is back")
        execute(own_plane.owner, "INSERT INTO apps SELECT 'app_new', project_id, name FROM apps LIMIT 1")
        await_true(lambda: send(service, "app_new").status == 202, "a new app is known", PROMISE_S)
        assert send(service, "app_unknown").status == 401
        assert whoami(service, shop.key).status == 200


def test_an_edge_starts_from_its_copy(
    own_postgres: PostgresServer, own_plane: Plane, shop: Customer, tmp_path: Path
) -> None:
    """An edge that finds the database away serves what an earlier one knew, and follows it once it is back."""
    with edge(own_plane, tmp_path):
        pass
    assert (tmp_path / "data" / COPY).stat().st_mode & 0o777 == 0o600
    own_postgres.kill()
    with edge(own_plane, tmp_path) as service:
        assert send(service, shop.app_id).status == 202
        assert send(service, "app_new").code == "UNAVAILABLE"
        assert problems(service) > 0

        own_postgres.restart()
        await_true(lambda: send(service, "app_new").status == 401, "the database is back")
        await_true(lambda: problems(service) == 0, "all is well")
        execute(own_plane.owner, "UPDATE apps SET kill_switch = true")
        await_true(lambda: send(service, shop.app_id).code == "KILL_SWITCH", "changes arrive", PROMISE_S)


@pytest.mark.parametrize("copy", [None, b"", b'{"version": 1, "apps": [', b"\xff\x00" * 50])
def test_an_edge_without_a_readable_copy_knows_nobody_for_now(
    own_postgres: PostgresServer, own_plane: Plane, shop: Customer, tmp_path: Path, copy: bytes | None
) -> None:
    """Without the database, and with no copy or a damaged one, everybody is asked to come again; nobody is lost."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    if copy is not None:
        (data / COPY).write_bytes(copy)
    own_postgres.kill()
    with edge(own_plane, tmp_path) as service:
        refused = send(service, shop.app_id)
        assert (refused.status, refused.code) == (503, "UNAVAILABLE")
        assert "retry-after" in refused.headers
        assert problems(service) > 0

        own_postgres.restart()
        await_true(lambda: send(service, shop.app_id).status == 202, "the database is back")
        await_true(lambda: b"app_a" in (data / COPY).read_bytes(), "the copy is whole again")


def test_a_database_that_stands_still_is_noticed_and_holds_up_nobody(
    own_postgres: PostgresServer, own_plane: Plane, shop: Customer, tmp_path: Path
) -> None:
    """While the database is frozen SDKs are answered as ever and partners asked to come again; then all is well."""
    with edge(own_plane, tmp_path) as service:
        assert whoami(service, shop.key).status == 200
        own_postgres.pause()
        asking = threading.Thread(target=lambda: [whoami(service, shop.key) for _ in range(2)])
        asking.start()

        def noticed() -> bool:
            assert send(service, shop.app_id, timeout_s=1.0).status == 202
            return problems(service) > 0

        await_true(noticed, "the outage is noticed", NOTICED_S)
        assert send(service, "app_new", timeout_s=1.0).code == "UNAVAILABLE"
        asking.join()

        own_postgres.resume()
        await_true(lambda: send(service, "app_new").status == 401, "the database is back")
        await_true(lambda: whoami(service, shop.key).status == 200, "partners are served again")


@pytest.mark.parametrize("calls", [0, 6])
def test_an_edge_stops_in_time_while_the_database_stands_still(
    own_postgres: PostgresServer, own_plane: Plane, shop: Customer, tmp_path: Path, calls: int
) -> None:
    """Neither the registry, nor calls that hang, nor what waits for the request log, holds up the end."""
    with edge(own_plane, tmp_path) as service:
        assert whoami(service, shop.key).status == 200
        own_postgres.pause()
        asking = [threading.Thread(target=whoami, args=(service, shop.key)) for _ in range(calls)]
        for each in asking:
            each.start()
        await_true(lambda: problems(service) > 0, "the outage is noticed", NOTICED_S)
        for each in asking:
            each.join()
        service.terminate()

        assert service.wait(DRAIN_S) == 0


def test_an_edge_starts_while_the_database_stands_still(
    own_postgres: PostgresServer, own_plane: Plane, shop: Customer, tmp_path: Path
) -> None:
    """A server that takes connections and never answers does not hold up the start for longer than the deadline."""
    with edge(own_plane, tmp_path):
        pass
    own_postgres.pause()
    with edge(own_plane, tmp_path) as service:
        assert send(service, shop.app_id).status == 202
        assert send(service, f"app_{uuid.uuid4().hex}").code == "UNAVAILABLE"
        own_postgres.resume()
        await_true(lambda: problems(service) == 0, "the database is back")
