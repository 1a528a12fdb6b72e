"""Erasure on a real PostgreSQL: what is kept of somebody goes, what comes late is refused, and nobody else notices."""

import asyncio
import contextlib
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from ingest.clock import SystemClock
from ingest.consume.step import Step
from ingest.db.database import Connection, Database
from ingest.db.migrate import migrate
from ingest.erasure import Erasure, subject_of, until_text
from ingest.event import Record
from ingest.persist.eraser import Eraser
from ingest.persist.erasures import ErasureReader, ErasureRecord, to_record
from ingest.persist.statement import said_of_consent, said_of_properties
from ingest.persist.users import UserWriter
from ingest.persist.writer import EventWriter
from ingest.transport.contract import SCHEMA, Delivered, Topic
from ingest.transport.memory import MemorySource, MemoryTransport
from tests.ingest.pipeline.batches import body, event
from tests.support.rows import as_persist, ask, delivered, opened, said

DIGEST = hashlib.sha256(b"ann@b.c").hexdigest()
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
"""After everything that the tests' helpers receive."""

TABLES = ("events", "user_properties", "consents", "erasures", "erased_subjects", "audit_events", "consumer_positions")


@pytest.fixture
def dsn(database: str) -> str:
    """Provide a database with a schema and an organization."""
    migrate(database)
    ask(database, "INSERT INTO organizations (id, name, contact) VALUES ('org_demo', 'Demo', 'ops@demo.example')")
    return database


def events_of_two() -> list[Delivered]:
    """Return records of Ann, by each of her ids and her e-mail, over two days, and of Bob."""
    day = {"timestamp": "2026-11-23T10:00:00Z"}
    return delivered(
        body(
            event(event_id="1", user_id="ann"),
            event(event_id="2", app_user_id="ann") | day,
            event(event_id="3", properties={"email": "ann@b.c"}),
            event(event_id="4", properties={"text": "write to ann@b.c"}) | day,
            event(event_id="5", user_id="bob"),
            event(event_id="6", properties={"user_id": "ann"}),
        )
    )


def statements_of_two() -> list[Delivered]:
    """Return what was said of Ann and Bob."""
    return [
        said(Topic.USER_PROPERTIES, {"app_user_id": "ann", "properties": {"plan": "pro", "email": "ann@b.c"}}),
        said(Topic.USER_PROPERTIES, {"app_user_id": "bob", "properties": {"plan": "pro"}}),
        said(Topic.CONSENT, {"app_user_id": "ann", "install_id": "her-phone", "advertising": False}),
        said(Topic.CONSENT, {"app_user_id": "bob", "advertising": True}),
    ]


async def persist(database: Database, records: Sequence[Delivered]) -> EventWriter:
    """Write records of all topics; none of them may be poison."""
    events = EventWriter(database, SystemClock())
    steps: dict[Topic, Step] = {
        Topic.EVENTS: events,
        Topic.USER_PROPERTIES: UserWriter(database, "user_properties", said_of_properties),
        Topic.CONSENT: UserWriter(database, "consents", said_of_consent),
    }
    for topic, step in steps.items():
        assert await step.do([each for each in records if each.topic is topic]) == []
    return events


async def ask_for(database: Database, *subjects: str, number: int = 1, requested_at: datetime = NOW) -> None:
    """Ask for an erasure as the partner surface and the command do."""

    async def insert(connection: Connection) -> None:
        await connection.execute(
            "INSERT INTO erasures (id, organization_id, project_id, subjects, requested_at)"
            " VALUES (%s, 'org_demo', 'prj_demo', %s, %s)",
            [f"era_{number}", list(subjects), requested_at],
        )
        for subject in subjects:
            await connection.execute(
                "INSERT INTO erased_subjects (project_id, subject, erasure_id, received_until)"
                " VALUES ('prj_demo', %s, %s, %s)",
                [subject_of(subject), f"era_{number}", requested_at],
            )

    await database.transact(insert)


async def erase(database: Database, transport: MemoryTransport | None = None) -> None:
    """Run the eraser until nothing is left to do."""
    working = asyncio.create_task(Eraser(database, transport, SystemClock(), pause_s=0.01).run())
    try:
        async with asyncio.timeout(20):
            while await database.run(_is_any_open):  # noqa: ASYNC110 - the database tells nobody
                await asyncio.sleep(0.02)
    finally:
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working


async def _is_any_open(connection: Connection) -> bool:
    cursor = await connection.execute("SELECT FROM erasures WHERE completed_at IS NULL")
    return await cursor.fetchone() is not None


def left(dsn: str) -> tuple[list[str], list[str], list[str]]:
    """Return the events that are left by their id, and the users of properties and of consent."""
    events = ask(dsn, "SELECT event_id FROM events ORDER BY 1")
    properties = ask(dsn, "SELECT DISTINCT user_id FROM user_properties ORDER BY 1")
    consents = ask(dsn, "SELECT DISTINCT user_id FROM consents ORDER BY 1")
    return (
        [row["event_id"] for row in events],
        [row["user_id"] for row in properties],
        [row["user_id"] for row in consents],
    )


@pytest.mark.parametrize(
    ("subject", "events"), [("ann", ["3", "4", "5", "6"]), (DIGEST, ["1", "2", "5", "6"])], ids=["by id", "by e-mail"]
)
def test_what_is_kept_of_somebody_goes(dsn: str, subject: str, events: list[str]) -> None:
    """Rows by id or digest, the whole profile, consent; the counts and the audit tell, without saying of whom."""

    async def run() -> None:
        async with opened(dsn) as database:
            await persist(database, [*events_of_two(), *statements_of_two()])
            await ask_for(database, subject)
            await erase(database)

    asyncio.run(run())
    # By e-mail her profile goes whole, and with it her consent as that user; her phone is another id.
    consents = ["bob"] if subject == "ann" else ["bob", "her-phone"]
    assert left(dsn) == (events, ["bob"], consents)
    (erasure,) = ask(dsn, "SELECT * FROM erasures")
    assert (erasure["subjects"], erasure["events_erased"], erasure["user_properties_erased"]) == ([], 2, 2)
    (audit,) = ask(dsn, "SELECT * FROM audit_events")
    assert (audit["action"], audit["target_id"], audit["organization_id"]) == ("erasure.completed", "era_1", "org_demo")
    assert audit["details"]["events"] == 2


def test_the_role_of_the_process_suffices(dsn: str) -> None:
    """A login that may do what `ingest_persist` may keeps statements, takes erasures in and erases."""
    told = to_record(Erasure("era_x", "org_demo", "prj_demo", until_text(NOW), (subject_of("bob"),)))

    async def run(limited: str) -> None:
        async with opened(limited) as database, opened(dsn) as owner:
            await persist(database, [*events_of_two(), *statements_of_two()])
            await ask_for(owner, "ann", DIGEST)
            assert await ErasureReader(database).do([_delivered(told)]) == []
            await erase(database)

    with as_persist(dsn) as limited:
        asyncio.run(run(limited))
    assert left(dsn) == (["6"], [], [])


def test_what_comes_late_is_refused(dsn: str) -> None:
    """What was received before is not written any more, what is received later is somebody new."""

    async def run() -> EventWriter:
        async with opened(dsn) as database:
            await ask_for(database, "ann", DIGEST)
            await erase(database)
            writer = await persist(database, [*events_of_two(), *statements_of_two()])
            await ask_for(database, "bob", number=2, requested_at=NOW - timedelta(days=1))
            again = said(
                Topic.USER_PROPERTIES,
                {"app_user_id": "ann", "properties": {"plan": "new"}},
                received_at=until_text(NOW + timedelta(milliseconds=1)),
            )
            await persist(database, [again, *events_of_two()[4:5]])
            return writer

    writer = asyncio.run(run())
    assert writer.written.erased == 4
    assert left(dsn) == (["5", "6"], ["ann", "bob"], ["bob"])


def test_erasure_waits_for_writers_under_way(dsn: str) -> None:
    """A transaction that began before the erasure was asked for may not bring somebody back after it."""

    async def run() -> None:
        async with opened(dsn) as database, opened(dsn) as other:
            is_writing, may_end = asyncio.Event(), asyncio.Event()

            async def write(connection: Connection) -> None:
                await connection.execute("SELECT pg_advisory_xact_lock_shared(hashtext('erasures'))")
                is_writing.set()
                await may_end.wait()
                await connection.execute(
                    "INSERT INTO events (app_id, event_id, ts, project_id, organization_id, name, received_at, user_id,"
                    " source, event, meta) VALUES ('a', '1', now(), 'prj_demo', 'org_demo', 'n', '2026-11-24', 'ann',"
                    " 'sdk', '{}', '{}')"
                )

            writing = asyncio.create_task(other.transact(write))
            await is_writing.wait()
            await ask_for(database, "ann")
            erasing = asyncio.create_task(erase(database))
            done, _ = await asyncio.wait({erasing}, timeout=0.5)
            assert done == set()
            may_end.set()
            await asyncio.gather(writing, erasing)

    asyncio.run(run())
    assert left(dsn)[0] == []


def test_a_topic_replayed_into_an_empty_database_brings_nobody_back(dsn: str) -> None:
    """The erasure's record alone keeps somebody out, and takes away what had come before it."""
    until = until_text(NOW)
    erasure = Erasure("era_x", "org_elsewhere", "prj_demo", until, (subject_of("ann"), subject_of(DIGEST)))
    told = to_record(erasure)
    records = [*events_of_two(), *statements_of_two()]

    async def run() -> None:
        async with opened(dsn) as database:
            await persist(database, records[:3])
            reader = ErasureReader(database)
            for _ in range(2):
                assert await reader.do([_delivered(told)]) == []
            await persist(database, records)
            await erase(database)
            assert await reader.do([_delivered(told)]) == []

    asyncio.run(run())
    assert left(dsn) == (["5", "6"], ["bob"], ["bob"])
    assert ask(dsn, "SELECT events_erased, subjects FROM erasures") == [{"events_erased": 3, "subjects": []}]
    assert [row["organization_id"] for row in ask(dsn, "SELECT organization_id FROM audit_events")] == [None]


def test_consumers_are_told(dsn: str) -> None:
    """A record names the erasure and the digests of the subjects, never an id; it is completed once it is stored."""

    async def run() -> Delivered:
        transport = MemoryTransport()
        await transport.start()
        async with opened(dsn) as database:
            await ask_for(database, "ann", DIGEST)
            await erase(database, transport)
            source = MemorySource(transport, Topic.ERASURES, "test")
            await source.start()
            (record,) = await source.poll(10, 1_000)
        await transport.close()
        return record

    record = asyncio.run(run())
    told = msgspec.json.decode(record.value, type=ErasureRecord)
    assert sorted(told.event.subjects) == sorted([subject_of("ann"), subject_of(DIGEST)])
    assert (told.meta.event_id, told.meta.project_id, told.meta.received_at) == ("era_1", "prj_demo", until_text(NOW))
    assert b"ann" not in record.value
    assert DIGEST.encode() not in record.value
    assert ask(dsn, "SELECT published_at IS NOT NULL AS told FROM erasures") == [{"told": True}]


def test_while_nobody_can_be_told_it_is_not_completed(dsn: str) -> None:
    """Rows go at once; the erasure stays open, and its subjects with it, until the record is stored."""

    async def run() -> None:
        transport = MemoryTransport()
        await transport.start()
        async with opened(dsn) as database:
            await persist(database, events_of_two())
            await ask_for(database, "ann", DIGEST)
            transport.fail_next(10_000)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await erase(database, transport)
            assert left(dsn)[0] == ["5", "6"]
            assert ask(dsn, "SELECT completed_at FROM erasures") == [{"completed_at": None}]
            await erase(database)
        await transport.close()

    asyncio.run(run())


def test_nothing_in_any_table_names_who_was_erased(dsn: str) -> None:
    """Every column of every table is searched for the id and the digest."""

    async def run() -> None:
        async with opened(dsn) as database:
            await persist(database, [*events_of_two()[:5], *statements_of_two()])
            await ask_for(database, "ann", DIGEST)
            await erase(database)
            await persist(database, [*events_of_two()[:5], *statements_of_two()])

    asyncio.run(run())
    names = ask(dsn, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert {row["tablename"] for row in names} > set(TABLES)
    for row in names:
        table = row["tablename"]
        found = ask(dsn, f"SELECT t::text AS text FROM {table} AS t")  # noqa: S608 - names of tables, from above
        assert not [each for each in found if DIGEST in each["text"] or "ann" in each["text"]], table


def test_what_is_no_erasure_is_set_aside(dsn: str) -> None:
    """A record that tells of none, or of subjects that are no digests, costs no other."""
    good = to_record(Erasure("era_1", "org", "prj", until_text(NOW), (subject_of("ann"),)))
    bad = to_record(Erasure("era_2", "org", "prj", until_text(NOW), ("ann",)))

    async def run() -> list[str]:
        async with opened(dsn) as database:
            records = [_delivered(each) for each in (bad, Record(b"k", b"nope"), good)]
            return [each.reason for each in await ErasureReader(database).do(records)]

    assert asyncio.run(run()) == ["row_refused", "record_malformed"]
    assert ask(dsn, "SELECT id FROM erasures") == [{"id": "era_1"}]


def _delivered(record: Record, **_: Any) -> Delivered:
    return Delivered(Topic.ERASURES, 0, 0, 1_000, record.key, record.value, SCHEMA)
