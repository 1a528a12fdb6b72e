"""Rows on a real PostgreSQL: each event once by any way, whatever it holds, and nothing half done."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devservices.postgres import PostgresServer
from ingest.clock import SystemClock
from ingest.consume.step import Poison
from ingest.db.database import Database, DatabaseAway
from ingest.db.migrate import migrate
from ingest.persist.writer import EventWriter
from ingest.transport.contract import Delivered
from tests.ingest.pipeline.batches import body, event
from tests.support.rows import as_persist, ask, delivered, opened

NOW = datetime.now(UTC)
WAIT_MS = 20_000
TODAY = NOW.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def dsn(database: str) -> str:
    """Provide a database with a schema."""
    migrate(database)
    return database


def write(dsn: str, *batches: Sequence[Delivered]) -> tuple[EventWriter, list[Poison]]:
    """Write batches one after the other; return the writer and the poison."""

    async def run() -> tuple[EventWriter, list[Poison]]:
        async with opened(dsn) as database:
            writer = EventWriter(database, SystemClock())
            return writer, [each for batch in batches for each in await writer.do(batch)]

    return asyncio.run(run())


def count(dsn: str) -> int:
    """Return the number of rows."""
    return int(ask(dsn, "SELECT count(*) AS n FROM events")[0]["n"])


def today(**members: Any) -> dict[str, Any]:
    """Return an event of today."""
    return event(**members) | {"timestamp": TODAY}


def test_a_repeat_vanishes_whatever_way_it_comes(dsn: str) -> None:
    """Resent in another request, redelivered after a crash, and replayed from a spool, an event is one row."""
    batch = body(*(today(event_id=f"e{number}") for number in range(5)))
    records = delivered(batch)
    again = delivered(batch, first=50, timestamp_ms=2_000)
    elsewhere = delivered(batch, first=0, partition=1)
    writer, poison = write(dsn, records, records, again, elsewhere)

    assert (count(dsn), writer.written.inserted, poison) == (5, 5, [])
    assert ask(dsn, "SELECT partition, next_offset FROM consumer_positions ORDER BY 1") == [
        {"partition": 0, "next_offset": 55},
        {"partition": 1, "next_offset": 5},
    ]


def test_what_tells_events_apart(dsn: str) -> None:
    """Events of one id are two rows where their time stamps differ."""
    other = event(event_id="same") | {"timestamp": (NOW - timedelta(seconds=1)).isoformat()}
    write(dsn, delivered(body(today(event_id="same"), other)))
    assert count(dsn) == 2


def test_a_topic_that_was_made_anew_is_written(dsn: str) -> None:
    """Offsets that begin again with later records are not taken for records that were written."""
    write(dsn, delivered(body(today(event_id="a"), today(event_id="b")), timestamp_ms=1_000))
    write(dsn, delivered(body(today(event_id="c")), first=0, timestamp_ms=2_000))
    assert count(dsn) == 3


def test_days_have_partitions_and_wrong_clocks_the_default(dsn: str) -> None:
    """Events within the retention window go to their day (UTC), others to the default partition."""
    times = [
        NOW,
        NOW - timedelta(days=399),
        NOW + timedelta(days=5),
        NOW - timedelta(days=500),
        NOW + timedelta(days=60),
    ]
    events = [event(event_id=f"e{number}") | {"timestamp": at.isoformat()} for number, at in enumerate(times)]
    write(dsn, delivered(body(*events, event(event_id="old") | {"timestamp": "0001-01-01T00:00:00Z"})))

    found = {
        row["event_id"]: row["part"]
        for row in ask(dsn, "SELECT event_id, tableoid::regclass::text AS part FROM events")
    }
    for number, at in enumerate(times[:3]):
        assert found[f"e{number}"] == f"events_{at:%Y%m%d}"
    assert {found["e3"], found["e4"], found["old"]} == {"events_default"}


def test_rows_in_the_default_partition_do_not_keep_their_day_from_being_made(dsn: str) -> None:
    """Once a day gets its partition, what lay in the default one moves there, and nothing is lost or doubled."""
    day = (NOW + timedelta(days=3)).date()
    sent = event(event_id="early") | {"timestamp": f"{day}T10:00:00Z"}
    record = delivered(body(sent))

    async def directly() -> None:
        from ingest.db.queries.events import insert_events
        from ingest.persist.row import to_row

        async with opened(dsn) as database:
            await database.transact(lambda connection: insert_events(connection, [to_row(record[0]).line]))

    asyncio.run(directly())
    assert ask(dsn, "SELECT tableoid::regclass::text AS part FROM events") == [{"part": "events_default"}]
    write(dsn, delivered(body(sent, sent | {"event_id": "late"}), timestamp_ms=2_000))

    parts = ask(dsn, "SELECT event_id, tableoid::regclass::text AS part FROM events ORDER BY 1")
    assert parts == [{"event_id": name, "part": f"events_{day:%Y%m%d}"} for name in ("early", "late")]


def test_one_row_that_the_database_refuses_costs_no_other(dsn: str) -> None:
    """A record that cannot be stored is found among many, and all others are rows, once."""
    records = delivered(body(*(today(event_id=f"e{number}") for number in range(40))))
    value = records[17].value.replace(b'"event_id":"e17"', b'"event_id":"e17","x":1e400000')
    records[17] = records[17]._replace(value=value)
    writer, poison = write(dsn, records)

    assert [(each.record.offset, each.reason) for each in poison] == [(17, "row_refused")]
    assert (count(dsn), writer.written.inserted) == (39, 39)
    assert ask(dsn, "SELECT next_offset FROM consumer_positions") == [{"next_offset": 40}]


def test_what_is_refused_is_told_again(dsn: str) -> None:
    """Where a crash came before a refused record was set aside, it is found again, and its neighbours stay rows."""
    records = delivered(body(*(today(event_id=f"e{number}") for number in range(5))))
    value = records[3].value.replace(b'"event_id":"e3"', b'"event_id":"e3","x":1e400000')
    records[3] = records[3]._replace(value=value)

    for _ in range(2):
        assert [(each.record.offset, each.reason) for each in write(dsn, records)[1]] == [(3, "row_refused")]
        assert count(dsn) == 4


def test_two_at_once_write_each_event_once(dsn: str) -> None:
    """Two processes that have the same records, as after a rebalance, make one row of each, and neither fails."""
    records = delivered(body(*(today(event_id=f"e{number}") for number in range(50))))

    async def run() -> list[Sequence[Poison]]:
        async with opened(dsn) as one, opened(dsn) as other:
            writers = [EventWriter(database, SystemClock()) for database in (one, other)]
            return await asyncio.gather(*(writer.do(records) for writer in writers for _ in range(3)))

    assert asyncio.run(run()) == [[]] * 6
    assert count(dsn) == 50


def test_partitions_do_not_wait_for_each_other(dsn: str) -> None:
    """While one process is in the middle of a partition, another writes from the next one."""
    write(dsn, delivered(body(today(event_id="a"))), delivered(body(today(event_id="b")), partition=1))
    with psycopg.connect(dsn) as busy:
        busy.execute("SELECT FROM consumer_positions WHERE partition = 0 FOR UPDATE")
        write(dsn, delivered(body(today(event_id="c")), first=1, partition=1))
        assert count(dsn) == 3


def test_the_role_of_the_process_suffices(dsn: str) -> None:
    """A login that may do what `ingest_persist` may writes rows and makes days, and can change none."""
    with as_persist(dsn) as limited:
        write(limited, delivered(body(today(event_id="a"))))
        assert count(dsn) == 1
        for forbidden in ("DELETE FROM audit_events", "UPDATE events SET name = 'x'", "SELECT * FROM api_keys"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                ask(limited, forbidden)


def test_a_batch_waits_for_no_connection(own_postgres: PostgresServer) -> None:
    """However long its rows may take, a batch is soon told that the database is away, and soon tried again."""

    async def run() -> None:
        own_postgres.kill()
        database = Database(own_postgres.superuser_dsn, "test", deadline_ms=10 * WAIT_MS)
        await database.open()
        try:
            async with asyncio.timeout(WAIT_MS / 1000):
                with pytest.raises(DatabaseAway):
                    await database.run(lambda connection: connection.execute("SELECT 1"))
            own_postgres.restart()
            async with asyncio.timeout(WAIT_MS / 1000):
                await database.run(lambda connection: connection.execute("SELECT 1"))
        finally:
            await database.close()

    asyncio.run(run())
    assert own_postgres.pid is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=15,
)  # fmt: skip


def same(one: Any, other: Any) -> bool:
    """Compare values of JSON, numbers by their value; U+0000 stands for U+FFFD, and of equal names the last counts."""
    if isinstance(one, str) and isinstance(other, str):
        return one.replace("\0", "\ufffd") == other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        cleaned = {name.replace("\0", "\ufffd"): value for name, value in one.items()}
        return cleaned.keys() == other.keys() and all(same(cleaned[name], other[name]) for name in cleaned)
    if type(one) is float and type(other) in {int, float}:
        return one == float(other)
    return type(one) is type(other) and bool(one == other)


def test_whatever_an_event_holds_is_stored(dsn: str) -> None:
    """Any event that the edge accepts becomes a row whose `event` is what the record holds."""

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.dictionaries(st.text(max_size=8), JSON, max_size=5))
    def holds(members: dict[str, Any]) -> None:
        records = delivered(body(members | today()))
        if not records:
            return
        (record,) = records
        ask(dsn, "TRUNCATE events, consumer_positions")
        _, poison = write(dsn, records)
        assert poison == []
        (row,) = ask(dsn, "SELECT event, event::text AS text FROM events")
        sent = msgspec.json.decode(record.value)["event"]
        assert same(sent, json.loads(row["text"])), (sent, row["text"])

    holds()
