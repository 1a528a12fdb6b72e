"""Both ways to a row on a real PostgreSQL, straight and staged: whatever a batch holds, rows and counts are right."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest

from ingest.clock import SystemClock
from ingest.consume.step import Away, Poison
from ingest.db.database import Connection
from ingest.db.migrate import migrate
from ingest.db.queries.events import copy_events, insert_events
from ingest.erasure import subject_of
from ingest.persist import batch, writer
from ingest.persist.row import Row, to_row
from ingest.persist.writer import STAGED_BATCHES, EventWriter, Written
from ingest.transport.contract import Delivered
from tests.ingest.pipeline.batches import LIMITS, body, event
from tests.support.rows import ask, delivered, opened

NOW = datetime.now(UTC)
TODAY = NOW.strftime("%Y-%m-%dT%H:%M:%SZ")
SEVERAL_PARTS = 2 * batch.PART_RECORDS + 50
RECEIVED = b'"received_at":"2026-11-24T10:00:01.000Z"'
RECEIVED_LATER = b'"received_at":"2026-11-24T10:00:03.000Z"'
ERASED_UNTIL = "2026-11-24T10:00:02Z"

Add = Callable[[Connection, Iterable[bytes]], Coroutine[Any, Any, int]]
T = TypeVar("T")


@pytest.fixture
def dsn(database: str) -> str:
    """Provide a database with a schema."""
    migrate(database)
    return database


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Provide the ways that were tried, in their order."""
    tried: list[str] = []

    def noting(way: str, add: Add) -> Add:
        async def note(connection: Connection, parts: Iterable[bytes]) -> int:
            tried.append(way)
            return await add(connection, parts)

        return note

    monkeypatch.setattr(writer, "copy_events", noting("straight", copy_events))
    monkeypatch.setattr(writer, "insert_events", noting("staged", insert_events))
    return tried


def records(count: int, *, first: int = 0, partition: int = 0, **members: Any) -> list[Delivered]:
    """Return records of so many events, of which number and offset begin at `first`."""
    found: list[Delivered] = []
    for begin in range(first, first + count, LIMITS.events_max):
        numbers = range(begin, min(begin + LIMITS.events_max, first + count))
        events = [event(event_id=f"e{number}", timestamp=TODAY, **members) for number in numbers]
        found += delivered(body(*events), first=begin, partition=partition)
    return found


def moved(given: Sequence[Delivered], offset: int) -> list[Delivered]:
    """Return the same records, behind one another from an offset on."""
    return [record._replace(offset=offset + number) for number, record in enumerate(given)]


def changed(record: Delivered, old: bytes, new: bytes) -> Delivered:
    """Return a record with something else in its value."""
    assert old in record.value
    return record._replace(value=record.value.replace(old, new))


def run(dsn: str, work: Callable[[EventWriter], Coroutine[Any, Any, T]]) -> T:
    """Return what comes of work with a writer."""

    async def whole() -> T:
        async with opened(dsn) as database:
            return await work(EventWriter(database, SystemClock()))

    return asyncio.run(whole())


def write(dsn: str, *batches: Sequence[Delivered]) -> tuple[Written, list[tuple[int, str]]]:
    """Write batches one after the other; return the counts, and offset and reason of what is poison."""

    async def work(one: EventWriter) -> tuple[Written, list[tuple[int, str]]]:
        poison = [each for given in batches for each in await one.do(given)]
        return one.written, [(each.record.offset, each.reason) for each in poison]

    return run(dsn, work)


def erase_ann(dsn: str) -> None:
    """Let nothing be written of a user that was received until a certain time."""
    ask(
        dsn,
        "INSERT INTO erased_subjects (project_id, subject, erasure_id, received_until)"
        " VALUES ('prj_demo', %s, 'era_1', %s)",
        [subject_of("ann"), ERASED_UNTIL],
    )


def ids(dsn: str) -> list[int]:
    """Return the numbers of all events that are rows, each as often as it is one."""
    return sorted(int(row["event_id"][1:]) for row in ask(dsn, "SELECT event_id FROM events"))


def position(dsn: str) -> int:
    """Return how far the only partition was written."""
    ((row),) = ask(dsn, "SELECT next_offset FROM consumer_positions")
    return int(row["next_offset"])


def test_rows_go_straight_until_one_repeats_another(dsn: str, ways: list[str]) -> None:
    """A batch that holds a repeat is staged, with all its other rows, and so are some after it."""
    fresh = [records(10, first=1_000 + 10 * number) for number in range(STAGED_BATCHES + 1)]
    written, poison = write(
        dsn,
        records(SEVERAL_PARTS),
        records(SEVERAL_PARTS, first=SEVERAL_PARTS),
        moved([*records(SEVERAL_PARTS, first=2 * SEVERAL_PARTS), *records(3)], 2 * SEVERAL_PARTS),
        *fresh,
    )

    first_day = "straight"
    assert ways == [first_day, *["straight"] * 3, "staged", *["staged"] * STAGED_BATCHES, "straight"]
    assert written == Written(inserted=3 * SEVERAL_PARTS + 10 * len(fresh), repeated=3)
    assert (ids(dsn), poison) == ([*range(3 * SEVERAL_PARTS), *range(1_000, 1_000 + 10 * len(fresh))], [])
    assert position(dsn) == 1_000 + 10 * len(fresh)


def test_repeats_go_on_to_be_staged(dsn: str, ways: list[str]) -> None:
    """While repeats come, no batch is tried in vain."""
    mixed = [moved([*records(10, first=10 * number), *records(1)], 11 * number) for number in range(1, 20)]
    written, _ = write(dsn, records(10), *mixed)

    assert ways.count("straight") == 3  # the first day, the first batch, and the first repeat
    assert written == Written(inserted=200, repeated=19)
    assert ids(dsn) == list(range(200))


def test_a_batch_may_repeat_itself(dsn: str) -> None:
    """Of events that come twice in one batch, in whatever part of it, one is a row."""
    once = records(SEVERAL_PARTS)
    written, poison = write(dsn, moved([*once, *reversed(once), once[0]], 0))

    assert (written, poison) == (Written(SEVERAL_PARTS, SEVERAL_PARTS + 1), [])
    assert (ids(dsn), position(dsn)) == (list(range(SEVERAL_PARTS)), 2 * SEVERAL_PARTS + 1)


@pytest.mark.parametrize("repeats", [0, 2])
def test_what_is_refused_costs_no_other(dsn: str, repeats: int) -> None:
    """Among rows that go straight, or repeat others, a value that PostgreSQL refuses is set aside alone."""
    batch_of = moved([*records(repeats), *records(SEVERAL_PARTS, first=10)], 10)
    batch_of[-20] = changed(batch_of[-20], b'"event_id"', b'"x":1e400000,"event_id"')
    batch_of[-10] = batch_of[-10]._replace(value=b"no JSON")
    written, poison = write(dsn, records(10), batch_of)

    last = 10 + repeats + SEVERAL_PARTS
    assert sorted(poison) == [(last - 20, "row_refused"), (last - 10, "record_malformed")]
    assert written == Written(10 + SEVERAL_PARTS - 2, repeats)
    assert len(set(ids(dsn))) == len(ids(dsn)) == 10 + SEVERAL_PARTS - 2
    assert position(dsn) == last


def test_the_erased_are_kept_out_of_rows_that_go_straight(dsn: str, ways: list[str]) -> None:
    """What was received before an erasure is a row if it is of somebody else, all later is, and each counts once."""
    erase_ann(dsn)
    hers, his = records(SEVERAL_PARTS, user_id="ann"), records(50, first=SEVERAL_PARTS, user_id="bob")
    later = [changed(record, RECEIVED, RECEIVED_LATER) for record in hers[::2]]
    written, poison = write(dsn, moved([*later, *hers[1::2], *his], 0))

    assert (written, poison) == (Written(len(later) + 50, 0, SEVERAL_PARTS - len(later)), [])
    assert ids(dsn) == [*range(0, SEVERAL_PARTS, 2), *range(SEVERAL_PARTS, SEVERAL_PARTS + 50)]
    assert set(ways) == {"straight"}


def test_repeats_of_the_erased_and_of_others(dsn: str, ways: list[str]) -> None:
    """A staged batch with what came before an erasure, twice, has the same rows and counts."""
    erase_ann(dsn)
    hers, his = records(10, user_id="ann"), records(10, first=10, user_id="bob")
    later = [changed(record, RECEIVED, RECEIVED_LATER) for record in records(10, first=20)]
    written, poison = write(dsn, moved([*hers, *his, *later] * 2, 0))

    assert (written, poison) == (Written(20, 20, 20), [])
    assert ids(dsn) == list(range(10, 30))
    assert ways[-1] == "staged"


def test_a_day_that_is_new_in_the_middle_of_a_batch(dsn: str) -> None:
    """Rows of it go to its partition, and those before it are there once."""
    yesterday = (NOW - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    late = [changed(record, TODAY.encode(), yesterday.encode()) for record in records(10, first=SEVERAL_PARTS)]
    written, poison = write(dsn, records(1, first=900), [*records(SEVERAL_PARTS), *late])

    assert (written, poison) == (Written(SEVERAL_PARTS + 11), [])
    assert ask(dsn, "SELECT tableoid::regclass::text AS part, count(*) AS n FROM events GROUP BY 1 ORDER BY 1") == [
        {"part": f"events_{NOW - timedelta(days=1):%Y%m%d}", "n": 10},
        {"part": f"events_{NOW:%Y%m%d}", "n": SEVERAL_PARTS + 1},
    ]


@pytest.mark.parametrize("way", ["straight", "staged"])
def test_a_crash_in_the_middle_leaves_nothing(
    dsn: str, ways: list[str], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Where PostgreSQL is lost while rows are copied, none is there, nor a position; the next try writes all."""
    before = [records(1, first=900)] * (2 if way == "staged" else 1)
    given = moved(records(SEVERAL_PARTS), 901)

    def losing(record: Delivered) -> Row:
        if record.offset == given[-1].offset:
            ask(dsn, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test'")
            monkeypatch.undo()
        return to_row(record)

    async def work(one: EventWriter) -> Sequence[Poison]:
        for each in before:
            await one.do(each)
        monkeypatch.setattr(batch, "to_row", losing)
        with pytest.raises(Away):
            await one.do(given)
        assert (ids(dsn), position(dsn), ways[-1]) == ([900], 901, way)
        return await one.do(given)

    assert run(dsn, work) == []
    assert ids(dsn) == [*range(SEVERAL_PARTS), 900]
    assert position(dsn) == 901 + len(given)


def test_the_same_events_in_two_partitions_at_once(dsn: str) -> None:
    """Two processes with the same events, in opposite orders, wait for each other and make one row of each."""
    one_way, other_way = records(SEVERAL_PARTS), moved(records(SEVERAL_PARTS, partition=1)[::-1], 0)

    async def persist(given: Sequence[Delivered]) -> EventWriter:
        async with opened(dsn) as database:
            one = EventWriter(database, SystemClock())
            while True:
                try:
                    assert await one.do(given) == []
                except Away:  # PostgreSQL ends one of two that wait for each other; the loop tries it again
                    continue
                return one

    async def both() -> Written:
        written = [each.written for each in await asyncio.gather(persist(one_way), persist(other_way))]
        return Written(*map(sum, zip(*written, strict=True)))

    assert asyncio.run(both()) == Written(SEVERAL_PARTS, SEVERAL_PARTS)
    assert ids(dsn) == list(range(SEVERAL_PARTS))
