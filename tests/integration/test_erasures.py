"""Who is erased in PostgreSQL is gone from what lies on an edge, whatever is away at that time."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import psycopg
import pytest

from devservices.kafka import KafkaCluster
from devservices.postgres import PostgresServer
from ingest.db.database import Database
from ingest.edge import erasures
from ingest.edge.erasures import Erasures
from ingest.erasure import subject_of
from ingest.transport import spool_view
from ingest.transport.contract import Topic, Unavailable
from ingest.transport.known_erased import KnownErased
from ingest.transport.log_format import Covers, Damage
from ingest.transport.sealed import SealKeys
from tests.integration.edge import (
    WAIT_S,
    ask,
    assert_conserved,
    await_true,
    batch,
    event,
    figures,
    is_drained,
    on_kafka,
    read_topic,
    stored,
)
from tests.support.control import Customer, Plane, customer, execute
from tests.support.service import ServiceProcess

APP = "app_a"
LONG_AGO, UNTIL = "2026-01-01T00:00:00.000Z", "2026-06-01T00:00:00Z"


def erase(dsn: str, project_id: str, *users: str, until: str | None = None, erasure_id: str = "era_1") -> None:
    """Do to the table what an erasure does."""
    for user in users:
        execute(
            dsn,
            "INSERT INTO erased_subjects (project_id, subject, erasure_id, received_until)"
            " VALUES (%s, %s, %s, coalesce(%s::timestamptz, now()))",
            (project_id, subject_of(user), erasure_id, until),
        )


def value(user: str, received_at: str = LONG_AGO, project_id: str = "prj") -> bytes:
    """Make the value of a record."""
    meta = {"project_id": project_id, "received_at": received_at}
    return json.dumps({"event": {"app_user_id": user}, "meta": meta}).encode()


class Store:
    """Stands for what is stored: tells how often it was gone through, and who would have gone."""

    def __init__(self) -> None:
        self.values = [value(user) for user in ("ann", "bob", "cyd")]
        self.looks: list[list[str]] = []
        self.is_away = False

    async def erase(self, covers: Covers) -> int:
        """Note who is covered."""
        if self.is_away:
            raise Unavailable("the disk is away")
        self.looks.append([json.loads(each)["event"]["app_user_id"] for each in self.values if covers(each)])
        return 0


@asynccontextmanager
async def watching(dsn: str) -> AsyncIterator[tuple[Erasures, KnownErased, Store]]:
    """Provide a companion that looks when it is told to."""
    database = Database(dsn, "test", connections_max=2)
    known, store = KnownErased(), Store()
    await database.open()
    try:
        yield Erasures(database, known, store.erase), known, store
    finally:
        await database.close()


def run(story: Callable[[], Awaitable[None]]) -> None:
    """Run a test's story."""

    async def main() -> None:
        async with asyncio.timeout(60):
            await story()

    asyncio.run(main())


def test_each_is_taken_out_twice_and_then_let_be(control_plane: Plane) -> None:
    """With the look that finds them and with the next one; who came before that is not looked for again."""

    async def story() -> None:
        erase(control_plane.owner, "prj", "ann", until=UNTIL)
        async with watching(control_plane.serving) as (companion, known, store):
            await companion.look()
            erase(control_plane.owner, "prj", "bob", until=UNTIL)
            for _ in range(4):
                await companion.look()
            assert store.looks == [["ann"], ["ann", "bob"], ["bob"]]
            assert [known.covers(each) for each in store.values] == [True, True, False]
            assert not known.covers(value("ann", project_id="prj_other"))

    run(story)


def test_a_time_is_rounded_up_to_the_millisecond(control_plane: Plane) -> None:
    """What was received within it is covered, what came in the next one is not."""

    async def story() -> None:
        erase(control_plane.owner, "prj", "ann", until="2026-06-01T12:00:00.123001Z")
        async with watching(control_plane.serving) as (companion, known, _):
            await companion.look()
            assert known.covers(value("ann", "2026-06-01T12:00:00.124Z"))
            assert not known.covers(value("ann", "2026-06-01T12:00:00.125Z"))

    run(story)


def test_a_number_that_becomes_visible_late_is_found(control_plane: Plane) -> None:
    """Numbers are given before a transaction ends, so a lower one may come after a higher one."""

    async def story() -> None:
        async with watching(control_plane.serving) as (companion, known, store):
            with psycopg.connect(control_plane.owner) as slow:
                slow.execute(
                    "INSERT INTO erased_subjects (project_id, subject, erasure_id, received_until)"
                    " VALUES ('prj', %s, 'era_slow', now())",
                    (subject_of("ann"),),
                )
                await asyncio.to_thread(erase, control_plane.owner, "prj", "bob")
                await companion.look()
                before = known.covers(value("ann")), known.covers(value("bob"))
                slow.commit()
            for _ in range(3):
                await companion.look()
            assert before == (False, True)
            assert known.covers(value("ann"))
            assert store.looks == [["bob"], ["ann", "bob"], ["ann"]]

    run(story)


def test_many_are_read_page_by_page(control_plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is left out between two pages, recent or not."""
    monkeypatch.setattr(erasures, "PAGE_ROWS", 3)
    users = [f"user-{number}" for number in range(10)]

    async def story() -> None:
        erase(control_plane.owner, "prj", *users, until=UNTIL)
        erase(control_plane.owner, "prj", *(f"new-{user}" for user in users))
        async with watching(control_plane.serving) as (companion, known, _):
            await companion.look()
            await companion.look()
            assert all(known.covers(value(user)) and known.covers(value(f"new-{user}")) for user in users)

    run(story)


def test_what_cannot_be_taken_out_is_tried_again(control_plane: Plane) -> None:
    """As long as it takes, together with whoever is new."""

    async def story() -> None:
        erase(control_plane.owner, "prj", "ann", until=UNTIL)
        async with watching(control_plane.serving) as (companion, _, store):
            store.is_away = True
            await companion.look()
            erase(control_plane.owner, "prj", "bob", until=UNTIL)
            await companion.look()
            await companion.look()
            store.is_away = False
            await companion.look()
            await companion.look()
            assert store.looks == [["ann", "bob"]]

    run(story)


def test_a_database_that_is_away_at_first_holds_up_nothing(own_plane: Plane, own_postgres: PostgresServer) -> None:
    """The drain goes on without it, and consumers refuse what it would have kept back."""

    async def story() -> None:
        erase(own_plane.owner, "prj", "ann", until=UNTIL)
        own_postgres.pause()
        async with watching(own_plane.serving) as (companion, known, store):
            waiting = asyncio.create_task(known.wait())
            await asyncio.sleep(0)
            held_back = not waiting.done()
            await companion.look()
            await waiting
            own_postgres.resume()
            assert held_back
            assert store.looks == []
            assert not known.covers(value("ann"))

    run(story)


def test_a_database_that_is_away_harms_nobody(own_plane: Plane, own_postgres: PostgresServer) -> None:
    """It is asked again; who was known before stays known."""

    async def story() -> None:
        erase(own_plane.owner, "prj", "ann", until=UNTIL)
        async with watching(own_plane.serving) as (companion, known, store):
            await companion.look()
            own_postgres.pause()
            await companion.look()
            own_postgres.resume()
            assert known.covers(value("ann"))
            await asyncio.to_thread(erase, own_plane.owner, "prj", "bob", until=UNTIL)
            async with asyncio.timeout(WAIT_S):
                while not known.covers(value("bob")):
                    await companion.look()
            assert ["bob"] in store.looks or ["ann", "bob"] in store.looks

    run(story)


@contextmanager
def away(kafka: KafkaCluster) -> Iterator[Callable[[], None]]:
    """Kill the broker; what is provided starts it again, at the end at the latest."""
    broker = kafka.brokers[0]
    ends: list[Callable[[], None]] = [broker.restart]

    def come_back() -> None:
        if ends:
            ends.pop()()

    broker.kill()
    try:
        yield come_back
    finally:
        come_back()
        broker.await_ready(frozenset(), WAIT_S)


def send(service: ServiceProcess, *users: str) -> str:
    """Send an event of each, and return what was promised for them."""
    events = [event(f"of-{user}", app_user_id=user, install_id=f"install-{user}") for user in users]
    return stored(ask(service.url, "/events", batch(*events), {"X-App-Id": APP}))


def users_in(folder: Path, keys: SealKeys) -> list[str]:
    """Return whom the records in a log are about, and check that nothing there is damaged."""
    found = list(spool_view.records(folder, keys))
    assert not [each for each in found if isinstance(each, Damage)]
    return users_of([each.value for each in found if not isinstance(each, Damage)])


def users_of(values: Sequence[bytes]) -> list[str]:
    """Return whom events are about."""
    return [json.loads(each)["event"]["app_user_id"] for each in values]


@pytest.fixture
def shop(control_plane: Plane) -> Customer:
    """Provide an organization with an app."""
    return customer(control_plane.owner, APP)


def test_a_spool_honours_an_erasure_while_kafka_is_away(
    control_plane: Plane, shop: Customer, kafka: KafkaCluster, topic_prefix: str, tmp_path: Path
) -> None:
    """No file holds them any more while all others wait, and these alone come to Kafka in the end."""
    env = on_kafka(kafka.bootstrap, topic_prefix, tmp_path, ACK_DEADLINE_MS="1000", POSTGRES_DSN=control_plane.serving)
    del env["INGEST_APPS_FILE"]
    keys, spool = SealKeys.parse(env["INGEST_SPOOL_KEY"]), tmp_path / "data" / "spool" / "0"
    with away(kafka) as come_back, ServiceProcess(env, folder=tmp_path) as service:
        promises = {send(service, "ann", "bob"), send(service, "cyd"), send(service, "ann")}
        before = users_in(spool, keys)
        erase(control_plane.owner, shop.project_id, "ann", "cyd")
        await_true(lambda: users_in(spool, keys) == ["bob"], "bob alone is left", 60)
        waiting = figures(service)
        come_back()
        await_true(lambda: is_drained(service), "the spool is drained", 60)
        assert_conserved(service)
        done = figures(service)
        code = service.stop()
    values = [record.value for record in read_topic(kafka.bootstrap, f"{topic_prefix}events")]

    assert promises == {"spooled"}
    assert sorted(before) == ["ann", "ann", "bob", "cyd"]
    assert waiting['ingest_spool_records{state="erased"}'] == 3
    assert waiting['ingest_spool_records{state="waiting"}'] == 1
    assert done['ingest_spool_records{state="drained"}'] == 1
    assert (list(spool_view.faults(spool, keys)), code) == ([], 0)
    assert users_of(values) == ["bob"]


def test_the_local_log_honours_an_erasure(control_plane: Plane, shop: Customer, tmp_path: Path) -> None:
    """Without Kafka the log is all there is; the others keep their offsets."""
    env = {"INGEST_POSTGRES_DSN": control_plane.serving, "INGEST_SPOOL_KEY": SealKeys.generate()}
    keys, log = SealKeys.parse(env["INGEST_SPOOL_KEY"]), tmp_path / "data" / "log"
    with ServiceProcess(env, folder=tmp_path) as service:
        send(service, "ann", "bob")
        send(service, "cyd", "ann")
        erase(control_plane.owner, shop.project_id, "ann")
        await_true(lambda: users_in(log, keys) == ["bob", "cyd"], "ann is gone", 60)
        service.stop()
    records = [each for each in spool_view.records(log, keys) if not isinstance(each, Damage)]

    assert [(each.topic, each.offset) for each in records] == [(Topic.EVENTS, 1), (Topic.EVENTS, 2)]
    assert list(spool_view.faults(log, keys)) == []
