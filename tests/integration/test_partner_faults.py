"""Partners' calls while PostgreSQL fails: refused in time, never half done, and as before once it is back."""

import asyncio
import contextlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from devservices.postgres import PostgresServer
from ingest.control.keys import create_key
from ingest.control.secrets import hash_secret, mint
from ingest.db.database import Connection, Database, DatabaseAway
from ingest.db.migrate import migrate
from ingest.transport.sealed import SealKeys
from tests.faults.proxy import SlowProxy
from tests.integration.edge import Answer, ask, await_true, batch, event, figures, new_id
from tests.support.control import KIM, Customer, Plane, customer, execute, operate, through
from tests.support.service import ServiceProcess

CALLS = 20
OUTAGE_S = 3.3
REFUSED_S = 5.0
"""A call that the database holds up is answered within this time."""

LOG_COLUMNS = (
    "at, request_id, organization_id, project_id, app_id, key_id, route, method, status, code, latency_ms,"
    " request_bytes, response_bytes"
)


class World(NamedTuple):
    """An edge, and what it serves."""

    service: ServiceProcess
    plane: Plane
    shop: Customer

    def call(self, path: str, body: bytes | None = None, *, method: str = "", key: str = "") -> Answer:
        """Make one call of a partner."""
        headers = {"Authorization": f"Bearer {key or self.shop.key}"}
        return ask(self.service.url, path, body, headers, method=method)

    def whoami(self, _: object = None) -> Answer:
        """Make the cheapest call."""
        return self.call("/v1/whoami")

    def send(self) -> int:
        """Send an event as an SDK does, and return the status; an SDK is never made to wait by the database."""
        return ask(
            self.service.url, "/events", batch(event(new_id())), {"X-App-Id": self.shop.app_id}, timeout_s=1.0
        ).status

    def audited(self, target: str) -> list[str]:
        """Return what was written down about a key, in order."""
        rows = execute(self.plane.owner, "SELECT action FROM audit_events WHERE target_id = %s ORDER BY at", (target,))
        return [action for (action,) in rows if action != "key.created"]


@contextlib.contextmanager
def edge(plane: Plane, shop: Customer, folder: Path, dsn: str = "") -> Iterator[World]:
    """Run an edge over the local log."""
    env = {"INGEST_POSTGRES_DSN": dsn or plane.serving, "INGEST_SPOOL_KEY": SealKeys.generate()}
    with ServiceProcess(env, folder=folder) as service:
        yield World(service, plane, shop)


@pytest.fixture
def world(own_plane: Plane, tmp_path: Path) -> Iterator[World]:
    """Provide an edge on a server that the test may hurt, its caches warm."""
    with edge(own_plane, customer(own_plane.owner, "app_a"), tmp_path) as made:
        assert made.whoami().status == 200
        yield made


@pytest.fixture
def slow(own_postgres: PostgresServer) -> Iterator[SlowProxy]:
    """Provide a way to the server that can be made slow."""
    proxy = SlowProxy(own_postgres.port)
    yield proxy

    proxy.close()


def assert_refused(answers: list[Answer]) -> None:
    """Check that each call was asked to come again, in time."""
    for answer in answers:
        assert (answer.status, answer.code) == (503, "UNAVAILABLE")
        assert 0 < int(answer.headers["retry-after"]) <= 300
        assert answer.seconds < REFUSED_S


def at_once(call: Callable[[int], Answer], count: int) -> list[Answer]:
    """Make calls at the same time."""
    with ThreadPoolExecutor(count) as callers:
        return list(callers.map(call, range(count)))


def every_call(world: World) -> list[Callable[[], Answer]]:
    """Return one call of each kind that needs the database, harmless ones first."""
    path = f"/v1/api-keys/{world.shop.key_id}"
    project = f"/v1/projects/{world.shop.project_id}"
    batch_body = {
        "projectId": world.shop.project_id,
        "sdkAppId": world.shop.app_id,
        "events": [{"name": "opened", "occurredAt": "2026-01-01T00:00:00Z"}],
    }
    return [
        world.whoami,
        lambda: world.call("/v1/events", json.dumps(batch_body).encode()),
        lambda: world.call("/v1/api-keys"),
        lambda: world.call("/v1/audit-log"),
        lambda: world.call(f"{project}/events/users/u-1"),
        lambda: world.call(f"{project}/erasures/era_1"),
        lambda: world.call(f"{project}/events/users/u-1", method="DELETE"),
        lambda: world.call(f"{path}/kill", b"{}"),
        lambda: world.call(f"{path}/rotate", b""),
        lambda: world.call(path, method="DELETE"),
    ]


def test_every_call_is_refused_in_time_while_the_database_is_dead(world: World, own_postgres: PostgresServer) -> None:
    """With the server killed, each kind of call is 503 and SDKs notice nothing; the first call afterwards succeeds."""
    own_postgres.kill()
    with ThreadPoolExecutor(8) as callers:
        asked = [callers.submit(call) for call in every_call(world)]
        while not all(each.done() for each in asked):
            assert world.send() == 202

    assert_refused([each.result() for each in asked])

    own_postgres.restart()
    assert world.whoami().status == 200
    assert world.audited(world.shop.key_id) == []


def test_every_call_is_refused_in_time_while_the_database_stands_still(
    world: World, own_postgres: PostgresServer
) -> None:
    """A server that takes connections and does not answer costs a call no more than its deadline."""
    own_postgres.pause()
    with ThreadPoolExecutor(8) as callers:
        asked = [callers.submit(call) for call in every_call(world)]
        while not all(each.done() for each in asked):
            assert world.send() == 202
    own_postgres.resume()

    assert_refused([each.result() for each in asked])


def test_no_connection_is_lost_by_calls_that_were_given_up(world: World, own_postgres: PostgresServer) -> None:
    """After several freezes with calls under way, as many calls as ever are answered at once."""
    for _ in range(3):
        own_postgres.pause()
        try:
            assert_refused(at_once(world.whoami, 8))
        finally:
            own_postgres.resume()
        await_true(lambda: world.whoami().status == 200, "the database is back")

    assert {answer.status for answer in at_once(world.whoami, CALLS)} == {200}


def test_an_outage_delays_no_call_once_it_is_over(own_postgres: PostgresServer, own_plane: Plane) -> None:
    """The pool connects for the first who asks, and is not in the middle of a pause that grew with the outage."""

    async def one(connection: Connection) -> None:
        await connection.execute("SELECT 1")

    async def work() -> None:
        database = Database(own_plane.serving, "test-pool")
        await database.open()
        try:
            await database.run(one)
            own_postgres.kill()
            ends = asyncio.get_running_loop().time() + OUTAGE_S

            async def ask_on() -> None:
                while asyncio.get_running_loop().time() < ends:
                    with contextlib.suppress(DatabaseAway):
                        await database.run(one)

            await asyncio.gather(ask_on(), ask_on(), asyncio.sleep(OUTAGE_S))
            await asyncio.to_thread(own_postgres.restart)
            await database.run(one)
        finally:
            await database.close()

    asyncio.run(work())

    assert own_postgres.pid is not None


def test_an_edge_may_be_there_before_the_schema(own_postgres: PostgresServer, tmp_path: Path) -> None:
    """Before the first migration everybody is asked to come again; after it all are served, without a restart."""
    bare = own_postgres.create_database(f"t{uuid.uuid4().hex[:12]}")
    env = {"INGEST_POSTGRES_DSN": bare, "INGEST_SPOOL_KEY": SealKeys.generate()}
    with ServiceProcess(env, folder=tmp_path) as service:
        someone = {"Authorization": f"Bearer {mint('live').text()}"}
        sdk = ask(service.url, "/events", batch(event(new_id())), {"X-App-Id": "app_a"})
        assert (sdk.status, sdk.code) == (503, "UNAVAILABLE")
        assert_refused([ask(service.url, "/v1/whoami", headers=someone)])

        migrate(bare)
        world = World(service, Plane(bare, bare), customer(bare, "app_a"))
        await_true(lambda: world.send() == 202, "the app is known")
        assert world.whoami().status == 200
        await_true(lambda: bool(logged(world)), "calls are logged")


def test_a_slow_database_costs_partners_a_refusal_and_sdks_nothing(
    own_plane: Plane, slow: SlowProxy, tmp_path: Path
) -> None:
    """With every answer seconds late calls are 503 in time; with the delay gone they succeed."""
    shop = customer(own_plane.owner, "app_a")
    with edge(own_plane, shop, tmp_path, through(own_plane.serving, slow.port)) as world:
        assert world.whoami().status == 200
        slow.delay_s = 2.0
        with ThreadPoolExecutor(8) as callers:
            asked = [callers.submit(call) for call in every_call(world)]
            while not all(each.done() for each in asked):
                assert world.send() == 202
        slow.delay_s = 0.0

        assert_refused([each.result() for each in asked])
        await_true(lambda: world.whoami().status == 200, "the database is fast again")
        assert {answer.status for answer in at_once(world.whoami, CALLS)} == {200}


def test_a_call_of_many_questions_has_one_deadline(own_plane: Plane, slow: SlowProxy, tmp_path: Path) -> None:
    """Where each answer is late by less than the deadline, a call does not add them up."""
    shop = customer(own_plane.owner, "app_a")
    with edge(own_plane, shop, tmp_path, through(own_plane.serving, slow.port)) as world:
        assert world.whoami().status == 200
        slow.delay_s = 0.55
        answer = world.call(f"/v1/api-keys/{shop.key_id}/rotate", b"")
        slow.delay_s = 0.0

        assert_refused([answer])
        await_true(lambda: world.whoami().status == 200, "the database is fast again")
        assert world.audited(shop.key_id) == []


def test_a_standby_is_read_and_not_written(world: World) -> None:
    """While the database may only be read, calls that read are served, changes are 503 and leave nothing behind."""
    read_only(world, "on")
    reads, changes = every_call(world)[:6], every_call(world)[6:]
    try:
        await_true(lambda: world.whoami().status == 200, "reads are served")
        assert [call().status for call in reads] == [200, 202, 200, 200, 200, 404]
        assert_refused([call() for call in changes])
        assert world.send() == 202
    finally:
        read_only(world, "off")

    await_true(lambda: world.whoami().status == 200, "all is as before")
    assert world.audited(world.shop.key_id) == []
    assert execute(world.plane.owner, "SELECT id FROM erasures") == []
    assert [call().status for call in changes] == [202, 200, 503, 503]  # a killed key can do nothing more
    assert world.audited(world.shop.key_id) == ["key.killed"]


def read_only(world: World, value: str) -> None:
    """Make a standby of the database, as far as the edge can see, and end the sessions that began before."""
    (name,) = execute(world.plane.owner, "SELECT current_database()")[0]
    with contextlib.suppress(Exception):
        execute(
            world.plane.owner,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
    options: Any = f"ALTER DATABASE {name} SET default_transaction_read_only = {value}"
    execute(f"{world.plane.owner}?options=-c%20default_transaction_read_only%3Doff", options)
    execute(
        world.plane.owner,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )


def test_a_failover_is_survived_by_calls_that_go_on(world: World, own_postgres: PostgresServer) -> None:
    """Callers that do not stop see 200 or 503, nothing else, and only 200 once the server is back."""
    ended = threading.Event()
    seen: list[tuple[int, str]] = []

    def call_on() -> None:
        while not ended.is_set():
            answer = world.whoami()
            seen.append((answer.status, answer.code))

    callers = [threading.Thread(target=call_on) for _ in range(4)]
    for each in callers:
        each.start()
    for _ in range(3):
        own_postgres.restart()
        time.sleep(0.2)
    ended.set()
    for each in callers:
        each.join()

    assert set(seen) <= {(200, ""), (503, "UNAVAILABLE")}
    assert {answer.status for answer in at_once(world.whoami, CALLS)} == {200}


def test_a_change_is_whole_or_not_at_all(world: World, own_postgres: PostgresServer) -> None:
    """With the server killed again and again under changes, no answer lied and nothing is half done."""
    rounds = [several_keys(world, 24) for _ in range(3)]
    answered: dict[tuple[str, str], Answer] = {}

    def change(deed: tuple[str, str]) -> None:
        verb, key_id = deed
        path = f"/v1/api-keys/{key_id}"
        if verb == "revoked":
            answered[deed] = world.call(path, method="DELETE")
        else:
            answered[deed] = world.call(f"{path}/{'kill' if verb == 'killed' else 'rotate'}", b"")

    for number, keys in enumerate(rounds):
        deeds = [(("killed", "rotated", "revoked")[place % 3], key_id) for place, key_id in enumerate(keys)]
        with ThreadPoolExecutor(8) as callers:
            asked = [callers.submit(change, deed) for deed in deeds]
            await_true(lambda asked=asked: sum(each.done() for each in asked) > 3, "some are done")  # type: ignore[misc]
            time.sleep(0.01 * number)
            own_postgres.kill()
            own_postgres.restart()
        for each in asked:
            each.result()

    assert {(answer.status, answer.code) for answer in answered.values()} == {(200, ""), (503, "UNAVAILABLE")}
    for (verb, key_id), answer in answered.items():
        done = is_done(world, verb, key_id)
        told = 2 if done and verb == "killed" else 0  # the support, and the organization
        outbox = execute(world.plane.owner, "SELECT 1 FROM outbox WHERE payload->>'id' = %s", (key_id,))

        assert done or answer.status != 200, "what was answered 200 is done"
        assert world.audited(key_id) == ([f"key.{verb}"] if done else [])
        assert len(outbox) == told
    assert world.whoami().status == 200


def several_keys(world: World, count: int) -> list[str]:
    """Make keys and return their ids; they share one hash, which is nobody's secret."""
    made, secret_hash = [mint("live") for _ in range(count)], hash_secret("nobody's")

    async def work(connection: Connection) -> None:
        for key in made:
            await create_key(
                connection, key, secret_hash, world.shop.organization_id, KIM, scopes=["keys:read"], tier="standard"
            )

    operate(world.plane.owner, work)
    return [key.key_id for key in made]


def is_done(world: World, verb: str, key_id: str) -> bool:
    """Tell whether the database shows a change of a key."""
    rows = execute(
        world.plane.owner,
        "SELECT kill_switch, rotated_at IS NOT NULL, revoked_at IS NOT NULL AND NOT is_active FROM api_keys"
        " WHERE id = %s",
        (key_id,),
    )
    return bool(dict(zip(("killed", "rotated", "revoked"), rows[0], strict=True))[verb])


def logged(world: World) -> list[dict[str, Any]]:
    """Return the request log."""
    rows = execute(world.plane.owner, f"SELECT {LOG_COLUMNS} FROM request_log ORDER BY at")  # noqa: S608 - our own names
    return [dict(zip(LOG_COLUMNS.split(", "), row, strict=True)) for row in rows]


def test_the_request_log_tells_metadata_alone(world: World) -> None:
    """Each call of a known key leaves a row with all that is promised, and nothing of body or caller; others none."""
    secret = f"s{uuid.uuid4().hex}"
    body = {
        "projectId": world.shop.project_id,
        "sdkAppId": world.shop.app_id,
        "events": [{"name": secret, "occurredAt": "2026-01-01T00:00:00Z", "properties": {"email": f"{secret}@x.de"}}],
    }
    content = json.dumps(body).encode()
    taken = world.call("/v1/events", content)
    unknown = world.call(f"/v1/api-keys/{secret}/kill", b"{}")
    nobody = ask(world.service.url, f"/v1/whoami?{secret}=1", headers={"Authorization": f"Bearer {secret}"})
    await_true(lambda: len(logged(world)) == 3, "all are written")
    first, events, kill = logged(world)

    assert (taken.status, unknown.status, nobody.status) == (202, 404, 401)
    assert first["route"] == "/v1/whoami"
    assert first["key_id"] == world.shop.key_id
    assert events["request_id"] == taken.headers["x-request-id"]
    assert [events[name] for name in ("organization_id", "project_id", "app_id", "key_id")] == list(world.shop)[:4]
    assert (events["route"], events["method"], events["status"], events["code"]) == ("/v1/events", "POST", 202, None)
    assert (events["request_bytes"], events["response_bytes"]) == (len(content), len(taken.body))
    assert events["latency_ms"] > 0
    assert (kill["route"], kill["status"], kill["code"]) == ("/v1/api-keys/{keyId}/kill", 404, "NOT_FOUND")
    assert secret not in repr(logged(world))
    assert "127.0.0.1" not in repr(logged(world))


def test_the_request_log_waits_for_the_database(world: World, own_postgres: PostgresServer) -> None:
    """Rows of calls just before an outage are written once it is over, and none is dropped."""
    ids = {answer.headers["x-request-id"] for answer in at_once(world.whoami, 8)}
    own_postgres.kill()
    own_postgres.restart()
    await_true(lambda: ids <= {row["request_id"] for row in logged(world)}, "all are written")

    assert len(logged(world)) == len({row["request_id"] for row in logged(world)})
    assert figures(world.service)["ingest_request_log_dropped_total"] == 0


def test_the_request_log_is_written_at_the_end(own_plane: Plane, tmp_path: Path) -> None:
    """A stop right behind a call costs no row."""
    shop = customer(own_plane.owner, "app_a")
    with edge(own_plane, shop, tmp_path) as world:
        ids = {world.whoami().headers["x-request-id"] for _ in range(5)}

    assert ids == {row["request_id"] for row in logged(world)}
