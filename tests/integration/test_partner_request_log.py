"""The log of partner requests on a real PostgreSQL: by day, within its bound, and never silently short."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from devservices.postgres import PostgresServer
from ingest.clock import FakeClock
from ingest.db.database import Database
from ingest.db.queries.requests import RequestRow
from ingest.partner import request_log
from ingest.partner.request_log import PartnerRequestLog
from ingest.partner.service import PartnerService
from ingest.partner.verify import SecretVerifier
from ingest.telemetry.exposition import expose
from ingest.telemetry.metric import Process
from ingest.telemetry.metrics import Figures
from tests.integration.edge import await_true
from tests.support.control import Plane, execute

DAY = timedelta(days=1)


def row(request_id: str = "req_1", at: datetime | None = None) -> RequestRow:
    """Make a row as a call leaves it."""
    return RequestRow(
        at=at or datetime.now(UTC),
        request_id=request_id,
        organization_id="org_1",
        project_id="prj_1",
        app_id="app_1",
        key_id="01JZ0000000000000000000000",
        route="/v1/events",
        method="POST",
        status=429,
        code="RATE_LIMITED",
        latency_ms=1.5,
        request_bytes=2,
        response_bytes=3,
    )


def midnight(day: date) -> datetime:
    """Return the moment, in UTC, in which a day begins."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


@asynccontextmanager
async def logging(plane: Plane, deadline_ms: int = 3_000) -> AsyncIterator[PartnerRequestLog]:
    """Yield a log that writes when it is told to."""
    database = Database(plane.serving, "test-log", deadline_ms=deadline_ms)
    await database.open()
    try:
        yield PartnerRequestLog(database)
    finally:
        await database.close()


def with_log(plane: Plane, work: Callable[[PartnerRequestLog], Awaitable[None]]) -> None:
    """Do something with a log."""

    async def run() -> None:
        async with logging(plane) as log:
            await work(log)

    asyncio.run(run())


def written(plane: Plane) -> dict[str, str]:
    """Return the partition in which each row lies, by its request id."""
    rows = execute(plane.owner, "SELECT request_id, tableoid::regclass::text FROM request_log")
    assert len(rows) == len(dict(rows)), "a row was written twice"
    return dict(rows)


def partition(day: date) -> str:
    """Return the name of a day's partition."""
    return f"request_log_{day:%Y%m%d}"


def test_a_row_arrives_as_it_was(control_plane: Plane) -> None:
    """Every column holds what the call left."""
    given = row()

    async def work(log: PartnerRequestLog) -> None:
        log.add(given)
        await log.flush()
        assert log.dropped == 0

    with_log(control_plane, work)
    columns: Any = f"SELECT {', '.join(RequestRow.__struct_fields__)} FROM request_log"  # noqa: S608 - our own names
    (found,) = execute(control_plane.owner, columns)

    assert RequestRow(*found) == given


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_days_change_at_midnight_in_utc(control_plane: Plane, zone: str) -> None:
    """Rows on both sides of a midnight lie in their own days, whatever zone the server and the rows are in."""
    (name,) = execute(control_plane.owner, "SELECT current_database()")[0]
    setting: Any = f"ALTER DATABASE {name} SET timezone = '{zone}'"
    execute(control_plane.owner, setting)
    today = datetime.now(UTC).date()
    begin, end = midnight(today), midnight(today + DAY)
    last = timedelta(microseconds=1)
    rows = {
        "before": (begin - last, today - DAY),
        "at": (begin, today),
        "in": (end - last, today),
        "after": (end, today + DAY),
        "elsewhere": ((end - last).astimezone(timezone(timedelta(hours=14))), today),
    }

    async def work(log: PartnerRequestLog) -> None:
        for request_id, (at, _) in rows.items():
            log.add(row(request_id, at))
        await log.flush()
        log.add(row("again", begin))
        await log.flush()
        assert log.dropped == 0

    with_log(control_plane, work)

    assert written(control_plane) == {
        **{request_id: partition(day) for request_id, (_, day) in rows.items()},
        "again": partition(today),
    }


def test_many_logs_make_a_day_together(control_plane: Plane) -> None:
    """Processes that write the first row of a day at the same moment all succeed."""

    async def one(number: int) -> None:
        async with logging(control_plane) as log:
            log.add(row(f"req_{number}"))
            await log.flush()
            assert log.dropped == 0

    async def work() -> None:
        await asyncio.gather(*(one(number) for number in range(12)))

    asyncio.run(work())

    assert len(written(control_plane)) == 12


def test_a_partition_that_is_gone_is_made_again(control_plane: Plane) -> None:
    """A server that took over without the partition of the day costs no row."""

    async def work(log: PartnerRequestLog) -> None:
        log.add(row("before"))
        await log.flush()
        drop: Any = f"DROP TABLE {partition(datetime.now(UTC).date())}"
        await asyncio.to_thread(execute, control_plane.owner, drop)
        log.add(row("after"))
        await log.flush()
        await log.flush()
        assert log.dropped == 0

    with_log(control_plane, work)

    assert set(written(control_plane)) == {"after"}


def test_a_row_that_came_too_late_costs_itself_alone(control_plane: Plane) -> None:
    """After an outage of days what is older than yesterday is dropped and counted, the rest is written."""

    async def work(log: PartnerRequestLog) -> None:
        log.add(row("old", datetime.now(UTC) - 3 * DAY))
        log.add(row("new"))
        await log.flush()
        assert log.dropped == 1

    with_log(control_plane, work)

    assert set(written(control_plane)) == {"new"}


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the log little room, and let it write in several batches."""
    monkeypatch.setattr(request_log, "WAITING_MAX", 10)
    monkeypatch.setattr(request_log, "BATCH_MAX", 4)


@pytest.mark.usefixtures("_small")
def test_rows_beyond_the_bound_are_dropped_and_counted(own_postgres: PostgresServer, own_plane: Plane) -> None:
    """While the database is away as many rows wait as there is room for; the metric tells the others."""

    async def work(log: PartnerRequestLog) -> None:
        own_postgres.kill()
        for number in range(10):
            log.add(row(f"req_{number}"))
        await log.flush()
        for number in range(10, 15):
            log.add(row(f"req_{number}"))
        await log.flush()
        assert log.dropped == 5

        database, figures = Database(own_plane.serving, "unused"), Figures()
        PartnerService(database, SecretVerifier(FakeClock()), log).sample(figures)
        assert b"ingest_request_log_dropped_total 5.0" in expose(figures.snapshot(), Process.EDGE)

        await asyncio.to_thread(own_postgres.restart)
        async with asyncio.timeout(20):
            while len(written(own_plane)) < 10:
                await log.flush()
        assert log.dropped == 5

    with_log(own_plane, work)

    assert set(written(own_plane)) == {f"req_{number}" for number in range(10)}


@pytest.mark.usefixtures("_small")
def test_nothing_is_lost_silently_at_the_end(own_postgres: PostgresServer, own_plane: Plane) -> None:
    """A stop in the middle of a write that hangs ends in time, and every row that is not written is counted."""

    async def work(log: PartnerRequestLog) -> None:
        await log.start()
        log.add(row("written"))
        await asyncio.to_thread(await_true, lambda: bool(written(own_plane)), "the first is written")
        own_postgres.pause()
        for number in range(10):
            log.add(row(f"req_{number}"))
        await asyncio.to_thread(await_true, lambda: len(log._waiting) < 10, "a write has begun")
        async with asyncio.timeout(request_log.CLOSE_S + 2):
            await log.close()
        assert log.dropped == 10

    with_log(own_plane, work)


def test_a_stop_writes_what_waits(control_plane: Plane) -> None:
    """Rows of the last moment are written."""

    async def work(log: PartnerRequestLog) -> None:
        await log.start()
        for number in range(2_500):
            log.add(row(f"req_{number}"))
        await log.close()
        assert log.dropped == 0

    with_log(control_plane, work)

    assert len(written(control_plane)) == 2_500
