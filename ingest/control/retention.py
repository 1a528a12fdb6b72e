"""How long things are kept, and the run that lets go of the rest.

A run is many short transactions, each of which leaves everything right: it may be killed at any moment, and the next
one does what is left. Of several at the same time one works.
"""

from collections.abc import Awaitable, Callable
from datetime import date
from functools import partial
from typing import Final, NamedTuple

from ingest.control.record import Actor, Deed, record
from ingest.db.database import Connection, Database
from ingest.db.queries.retention import (
    BATCH_ROWS,
    Drop,
    Partitioned,
    day_partitions,
    delete_events_of_day,
    delete_events_of_wrong_clocks,
    delete_like_events,
    delete_old_rows,
    drop_day,
    is_day_empty,
    shortest_retention,
)

REQUEST_LOG_DAYS: Final = 30
AUDIT_DAYS: Final = 731
"""Two years, one of which may be a leap year; for erasures too."""

MESSAGE_DAYS: Final = 30
"""Days for which a message is kept after it was delivered."""

DELIVERY_DAYS: Final = 30
"""Days for which it is remembered what became of a conversion."""

DEADLINE_MS: Final = 60_000
"""Longest time for one step of a run."""

LOCK: Final = 0x1_9E57_01DA
"""The advisory lock of the run that is under way."""


class Purged(NamedTuple):
    """What a run has let go of: whole days, and rows. `put_off` are days that were in use, left to the next run."""

    event_days: int
    events: int
    request_log_days: int
    audit_events: int
    messages: int
    deliveries: int
    erasures: int
    erased_subjects: int
    put_off: int
    skan_postbacks: int = 0
    clicks: int = 0

    @property
    def days(self) -> int:
        """Days that were dropped."""
        return self.event_days + self.request_log_days

    @property
    def rows(self) -> int:
        """Rows that were deleted one by one."""
        by_time = self.audit_events, self.messages, self.deliveries, self.erasures, self.erased_subjects
        return sum((self.events, self.skan_postbacks, self.clicks, *by_time))


async def purge(
    database: Database, events_days: int, actor: Actor, progress: Callable[[str], None] = lambda _: None
) -> Purged | None:
    """Let go of all that is old enough, of events after `events_days` or what their project has instead.

    Returns None where another run is under way. Raises `DatabaseAway`.
    """
    async with database.alone(LOCK) as is_alone:
        if not is_alone:
            return None
        purged = await _Run(database, progress).purge(events_days)
        deed = Deed("retention", "run", "retention", None)
        details = {"events_retention_days": events_days, **purged._asdict()}
        await database.transact(lambda connection: record(connection, actor, deed, details=details))
        return purged


class _Run:
    """One run at work."""

    def __init__(self, database: Database, progress: Callable[[str], None]) -> None:
        self._database = database
        self._progress = progress
        self._put_off = 0

    async def purge(self, events_days: int) -> Purged:
        self._progress("dropping old days")
        request_log_days = await self._drop_old("request_log", REQUEST_LOG_DAYS)
        event_days = await self._drop_old("events", events_days)
        emptied_days, events = await self._purge_projects(events_days)
        self._progress("deleting events of wrong clocks, and old audit events, messages and erasures")
        return Purged(
            event_days=event_days + emptied_days,
            events=events + await self._in_batches(partial(delete_events_of_wrong_clocks, days=events_days)),
            request_log_days=request_log_days,
            audit_events=await self._in_batches(partial(delete_old_rows, parent="audit_events", days=AUDIT_DAYS)),
            messages=await self._in_batches(partial(delete_old_rows, parent="outbox", days=MESSAGE_DAYS)),
            deliveries=await self._in_batches(partial(delete_old_rows, parent="deliveries", days=DELIVERY_DAYS)),
            erasures=await self._in_batches(partial(delete_old_rows, parent="erasures", days=AUDIT_DAYS)),
            erased_subjects=await self._in_batches(partial(delete_old_rows, parent="erased_subjects", days=AUDIT_DAYS)),
            put_off=self._put_off,
            skan_postbacks=await self._in_batches(
                partial(delete_like_events, table="skan_postbacks", days=events_days)
            ),
            clicks=await self._in_batches(partial(delete_like_events, table="clicks", days=events_days)),
        )

    async def _drop_old(self, parent: Partitioned, days: int) -> int:
        """Drop whole days that ended at least so many days ago; return how many."""
        old = await self._database.run(partial(day_partitions, parent=parent, age=days + 1))
        return sum([await self._drop(partial(drop_day, parent=parent, day=day.date)) for day in old])

    async def _purge_projects(self, events_days: int) -> tuple[int, int]:
        """Delete what projects keep for a shorter time, and drop days that are empty then; return days and rows."""
        days = rows = 0
        shortest = await self._database.run(partial(shortest_retention, days=events_days))
        if shortest is None:
            return days, rows
        for day in await self._database.run(partial(day_partitions, parent="events", age=shortest)):
            self._progress(f"deleting events of {day.date}")
            rows += await self._in_batches(partial(delete_events_of_day, day=day.date, days=events_days))
            if day.age > shortest:
                days += await self._drop_empty(day.date)
        return days, rows

    async def _drop_empty(self, day: date) -> int:
        """Drop a day where it is empty; the first look needs no lock, the drop looks again under one."""
        if not await self._database.run(partial(is_day_empty, day=day)):
            return 0
        return await self._drop(partial(drop_day, parent="events", day=day, only_empty=True))

    async def _drop(self, drop: Callable[[Connection], Awaitable[Drop]]) -> int:
        done = await self._database.run(drop)
        self._put_off += done is Drop.BUSY
        return int(done is Drop.DROPPED)

    async def _in_batches(self, delete: Callable[[Connection], Awaitable[int]]) -> int:
        """Delete batch by batch, so that no transaction is long."""
        total = 0
        while True:
            deleted = await self._database.run(delete)
            total += deleted
            if deleted < BATCH_ROWS:
                return total
