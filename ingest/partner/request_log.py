"""The log of partner requests in PostgreSQL: metadata alone, written in the background and never waited for."""

import asyncio
import contextlib
from collections import deque
from datetime import UTC, datetime
from typing import Final

import psycopg
import structlog

from ingest.db.database import Database, DatabaseAway
from ingest.db.queries.requests import RequestRow, insert_requests, make_day_partition

WAITING_MAX: Final = 10_000
BATCH_MAX: Final = 1_000
INTERVAL_S: Final = 0.5
CLOSE_S: Final = 2.0
"""Longest wait for the database at the end of a process."""

_log = structlog.get_logger(__name__)


class PartnerRequestLog:
    """Takes a row for every call with a known key and never makes one wait; `dropped` counts rows without room."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[RequestRow] = deque()
        self._days: set[str] = set()
        self._writing: asyncio.Task[None] | None = None
        self._ending = asyncio.Event()
        self._failing = False
        self.dropped = 0

    def add(self, row: RequestRow) -> None:
        """Take a row."""
        if len(self._waiting) >= WAITING_MAX:
            self.dropped += 1
        else:
            self._waiting.append(row)

    async def start(self) -> None:
        """Begin to write in the background."""
        self._writing = asyncio.create_task(self._write_on())

    async def close(self) -> None:
        """Write what waits, as far as that goes in `CLOSE_S`, and stop; what is left counts as dropped."""
        self._ending.set()
        if self._writing is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await self._writing
        self.dropped += len(self._waiting)
        self._waiting.clear()

    async def flush(self) -> None:
        """Write what waits; what cannot be written keeps waiting, within the bound."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH_MAX, len(self._waiting)))]
            try:
                batch = await self._of_days(batch)
                await self._database.run(lambda connection, rows=batch: insert_requests(connection, rows))  # type: ignore[misc]
            except (DatabaseAway, psycopg.errors.CheckViolation) as error:
                self._days.clear()  # a server that took over may lack a partition that was there
                self._tell(error)
                self._put_back(batch)
                return
            except asyncio.CancelledError:
                self._put_back(batch)
                raise
            except Exception:
                self.dropped += len(batch)
                self._days.clear()  # nor is it known any more which partitions there are
                raise
            self._failing = False

    async def _of_days(self, batch: list[RequestRow]) -> list[RequestRow]:
        """Make sure of the partitions of all days; rows of a day that is too far away for one are dropped."""
        refused = set()
        for day in {_day(row) for row in batch} - self._days:
            try:
                await self._database.run(lambda connection, day=day: make_day_partition(connection, "request_log", day))  # type: ignore[misc]
            except psycopg.errors.RaiseException:
                refused.add(day)
            else:
                self._days = {day, *sorted(self._days)[-1:]}
        kept = [row for row in batch if _day(row) not in refused]
        self.dropped += len(batch) - len(kept)
        return kept

    def _put_back(self, batch: list[RequestRow]) -> None:
        room = max(0, WAITING_MAX - len(self._waiting))
        self.dropped += len(batch) - len(batch[:room])
        self._waiting.extendleft(reversed(batch[:room]))

    def _tell(self, error: BaseException) -> None:
        if not self._failing:
            _log.warning("request_log_waits", error=error, count=len(self._waiting))
        self._failing = True

    async def _write_on(self) -> None:
        """Write now and then, and once more at the end."""
        ending = False
        while not ending:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL_S):
                    await self._ending.wait()
            ending = self._ending.is_set()
            try:
                await self.flush()
            except Exception as error:  # noqa: BLE001 - a bug here costs rows of a log, never the writer
                _log.error("bug", error=error)


def now() -> datetime:
    """Return the present time, as rows have it."""
    return datetime.now(UTC)


def _day(row: RequestRow) -> str:
    return row.at.astimezone(UTC).date().isoformat()
