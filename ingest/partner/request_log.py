"""The log of partner requests in PostgreSQL: metadata alone, written in the background and never waited for."""

import asyncio
import contextlib
from collections import deque
from datetime import UTC, datetime
from typing import Final

import structlog

from ingest.db.database import Database, DatabaseAway
from ingest.db.queries.requests import RequestRow, insert_requests, make_day_partition

WAITING_MAX: Final = 10_000
BATCH_MAX: Final = 1_000
INTERVAL_S: Final = 0.5

_log = structlog.get_logger(__name__)


class PartnerRequestLog:
    """Takes a row for every request and never makes one wait; `dropped` counts the rows that found no room."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[RequestRow] = deque()
        self._days: set[str] = set()
        self._writing: asyncio.Task[None] | None = None
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
        """Write what waits, once, and stop."""
        if self._writing is not None:
            self._writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writing
        await self.flush()
        self.dropped += len(self._waiting)

    async def flush(self) -> None:
        """Write what waits; what cannot be written keeps waiting, within the bound."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH_MAX, len(self._waiting)))]
            try:
                await self._make_days(batch)
                await self._database.run(lambda connection, rows=batch: insert_requests(connection, rows))  # type: ignore[misc]
            except DatabaseAway as error:
                self._tell(error)
                self._put_back(batch)
                return
            self._failing = False

    async def _make_days(self, batch: list[RequestRow]) -> None:
        for day in {row.at.astimezone(UTC).date().isoformat() for row in batch} - self._days:
            await self._database.run(lambda connection, day=day: make_day_partition(connection, "request_log", day))  # type: ignore[misc]
            self._days = {day, *sorted(self._days)[-1:]}

    def _put_back(self, batch: list[RequestRow]) -> None:
        room = max(0, WAITING_MAX - len(self._waiting))
        self.dropped += len(batch) - len(batch[:room])
        self._waiting.extendleft(reversed(batch[:room]))

    def _tell(self, error: BaseException) -> None:
        if not self._failing:
            _log.warning("request_log_waits", error=error, count=len(self._waiting))
        self._failing = True

    async def _write_on(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_S)
            try:
                await self.flush()
            except Exception as error:  # noqa: BLE001 - a bug here costs rows of a log, never the writer
                _log.error("bug", error=error)


def now() -> datetime:
    """Return the present time, as rows have it."""
    return datetime.now(UTC)
