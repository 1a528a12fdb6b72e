"""The log of requests: nobody waits for it, nothing is unbounded, and what is lost is counted."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from ingest.db.queries.requests import RequestRow
from ingest.partner.request_log import BATCH_MAX, WAITING_MAX, PartnerRequestLog
from tests.ingest.partner.callers import FakeDatabase

AT = datetime(2026, 11, 24, 23, 59, tzinfo=UTC)


def row(number: int, at: datetime = AT) -> RequestRow:
    """Return a row that is known by its latency."""
    return RequestRow(at, "req_1", None, None, None, None, "/v1/whoami", "GET", 200, None, float(number), 0, 0)


def written(database: FakeDatabase) -> list[int]:
    """Return the numbers of the rows in the database."""
    return [int(each[10]) for each in database.connection.copied]


@pytest.fixture
def database() -> FakeDatabase:
    """Make a database."""
    return FakeDatabase()


@pytest.fixture
def log(database: FakeDatabase) -> PartnerRequestLog:
    """Make a log."""
    return PartnerRequestLog(cast("Any", database))


def test_rows_are_written_in_batches_and_in_order(log: PartnerRequestLog, database: FakeDatabase) -> None:
    """All that waits is written, oldest first, more than a batch of it too."""
    for number in range(BATCH_MAX + 5):
        log.add(row(number))
    asyncio.run(log.flush())

    assert written(database) == list(range(BATCH_MAX + 5))
    assert log.dropped == 0


def test_days_have_their_partitions_made_once(log: PartnerRequestLog, database: FakeDatabase) -> None:
    """The first row of a day, by UTC, makes the day's partition; further ones find it."""
    late = AT + timedelta(minutes=2)
    for numbers in ((1, 2), (3, 4)):
        for number in numbers:
            log.add(row(number, late if number % 2 else AT))
        asyncio.run(log.flush())

    days = [asked["day"] for asked in database.connection.asked]
    assert sorted(days) == ["2026-11-24", "2026-11-25"]
    assert {asked["parent"] for asked in database.connection.asked} == {"request_log"}


def test_the_bound_holds_and_is_counted(log: PartnerRequestLog, database: FakeDatabase) -> None:
    """What finds no room is dropped and counted; the older rows stay."""
    for number in range(WAITING_MAX + 3):
        log.add(row(number))
    assert log.dropped == 3

    asyncio.run(log.flush())
    assert written(database) == list(range(WAITING_MAX))


def test_rows_wait_while_the_database_is_away(log: PartnerRequestLog, database: FakeDatabase) -> None:
    """A batch that could not be written is put back before those behind it, and written when the database is back."""
    for number in range(BATCH_MAX + 5):
        log.add(row(number))
    database.away()
    asyncio.run(log.flush())
    assert written(database) == []

    database.failing = None
    log.add(row(BATCH_MAX + 5))
    asyncio.run(log.flush())
    assert written(database) == list(range(BATCH_MAX + 6))
    assert log.dropped == 0


def test_what_is_put_back_keeps_to_the_bound(log: PartnerRequestLog, database: FakeDatabase) -> None:
    """Rows that came in meanwhile leave less room: the older of the batch stay, and the rest is counted."""
    for number in range(WAITING_MAX):
        log.add(row(number))

    async def story() -> None:
        real = database.run

        async def fill_up_and_fail(work: Any) -> Any:
            for number in range(10):
                log.add(row(WAITING_MAX + number))
            database.away()
            return await real(work)

        database.run = fill_up_and_fail  # type: ignore[method-assign]
        await log.flush()
        database.run = real  # type: ignore[method-assign]
        database.failing = None
        await log.flush()

    asyncio.run(story())
    kept = BATCH_MAX - 10
    assert log.dropped == 10
    assert written(database) == [*range(kept), *range(BATCH_MAX, WAITING_MAX + 10)]


def test_the_end_of_the_writer_costs_no_row(log: PartnerRequestLog, database: FakeDatabase) -> None:
    """Rows whose writing was given up wait in their order, and are written at the end."""

    async def story() -> None:
        real, begun = database.run, asyncio.Event()

        async def hang(_: Any) -> Any:
            begun.set()
            await asyncio.Event().wait()

        log.add(row(1))
        database.run = hang  # type: ignore[method-assign, assignment]
        writing = asyncio.create_task(log.flush())
        await begun.wait()
        log.add(row(2))
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        database.run = real  # type: ignore[method-assign]
        await log.start()
        await log.close()

    asyncio.run(story())
    assert written(database) == [1, 2]
    assert log.dropped == 0


def test_rows_that_a_bug_refuses_are_counted(log: PartnerRequestLog, database: FakeDatabase) -> None:
    """A batch that can never be written does not hold up those behind it."""
    log.add(row(1))
    database.failing = ValueError("a bug")
    with pytest.raises(ValueError, match="a bug"):
        asyncio.run(log.flush())
    database.failing = None
    log.add(row(2))
    asyncio.run(log.flush())

    assert written(database) == [2]
    assert log.dropped == 1


def test_what_cannot_be_written_at_the_end_is_counted(log: PartnerRequestLog, database: FakeDatabase) -> None:
    """Closing tries once, and counts what is left."""

    async def story() -> None:
        await log.start()
        log.add(row(1))
        log.add(row(2))
        database.away()
        await log.close()

    asyncio.run(story())
    assert log.dropped == 2
