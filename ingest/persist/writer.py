"""Writes events: rows and positions at once, so that a crash neither loses a row nor doubles one.

Rows are copied straight into the table while they are made. PostgreSQL refuses a batch as a whole where one of them is
there already: such a batch, and some after it, are staged and moved by an `INSERT` that leaves out what is there.
"""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Final, NamedTuple

from ingest.clock import Clock
from ingest.consume.step import Away, Poison
from ingest.db.database import VALUE_REFUSED, Connection, Database, DatabaseAway
from ingest.db.queries.events import Position, copy_events, insert_events, keep_positions, lock_positions
from ingest.db.queries.requests import make_day_partition
from ingest.persist.batch import Batch, Made
from ingest.persist.refuse import erased_until, without_erased
from ingest.transport.contract import Delivered

CONSUMER: Final = "persist"
DAYS_BACK: Final = 399
DAYS_AHEAD: Final = 6
"""Days around today that get a partition of their own; a day less than the database allows, for its other midnight."""

STAGED_BATCHES: Final = 16
"""So many batches have to be written without a repeat, one after the other, before one is copied straight again."""


class Written(NamedTuple):
    """What became of the records of a batch."""

    inserted: int = 0
    repeated: int = 0
    erased: int = 0


class _NewDays(Exception):  # noqa: N818 - a state of the batch, not a fault
    """There is a day among the rows of which it is not known that it has its partition: none of them may be written."""


class EventWriter:
    """A `Step` that makes rows of the topic `events`. `written` counts them since its start."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._days: set[str] = set()
        self._to_stage = 0
        self.written = Written()

    async def do(self, records: Sequence[Delivered]) -> Sequence[Poison]:
        """Write rows for all records but those that can never be used. Raises `Away`."""
        batch = Batch(records)
        try:
            refused = await self._write(batch)
        except DatabaseAway as error:
            raise Away from error
        return batch.poison + refused

    async def replay(self, records: Sequence[Delivered]) -> Sequence[Poison]:
        """Write rows for records that were set aside, wherever the consumer has come since. Raises `DatabaseAway`."""
        poison: list[Poison] = []
        for record in records:
            batch = Batch([record])
            batch.make_all()
            await self._make_days(batch.days)
            try:
                await self._database.transact(partial(_add, batch=batch, days=self._days, straight=False))
            except VALUE_REFUSED:
                poison.append(Poison(record, "row_refused"))
            poison += batch.poison
        return poison

    async def _write(self, batch: Batch) -> list[Poison]:
        """Write a batch in one transaction; where the database refuses a row, in two, until that stands alone."""
        try:
            written = await self._write_whole(batch)
        except VALUE_REFUSED:
            batch.make_all()
            if len(batch.rows) <= 1:
                await self._write_whole(batch.without_rows())
                return [Poison(record, "row_refused") for record, _ in batch.rows]
            first, second = batch.halves()
            return await self._write(first) + await self._write(second)
        self.written = Written(*map(sum, zip(self.written, written, strict=True)))
        return []

    async def _write_whole(self, batch: Batch) -> Written:
        """Write a batch in one transaction; begin anew where a day has to be made first, or rows have to be staged."""
        while True:
            straight = self._to_stage == 0
            try:
                written = await self._database.transact(
                    partial(_write, batch=batch, days=self._days, straight=straight)
                )
            except _NewDays:
                batch.make_all()
                await self._make_days(batch.days)
            except VALUE_REFUSED:  # a repeat, as a rule
                if not straight:
                    raise
                self._to_stage = STAGED_BATCHES
            else:
                self._to_stage = STAGED_BATCHES if written.repeated else max(0, self._to_stage - 1)
                return written

    async def _make_days(self, days: AbstractSet[str]) -> None:
        """Make the partitions of days that are new to this process and near enough to today."""
        if len(self._days) > 2 * (DAYS_BACK + DAYS_AHEAD):
            self._days.clear()
        today = datetime.fromtimestamp(self._clock.now_ms() / 1_000, UTC).date()
        for day in days - self._days:
            if self._is_near(day, today):
                await self._database.run(
                    lambda connection, day=day: make_day_partition(connection, "events", day)  # type: ignore[misc]
                )
            self._days.add(day)

    @staticmethod
    def _is_near(day: str, today: date) -> bool:
        try:
            at = date.fromisoformat(day)
        except ValueError:
            return False
        return timedelta(days=-DAYS_BACK) <= at - today <= timedelta(days=DAYS_AHEAD)


async def _write(connection: Connection, batch: Batch, days: AbstractSet[str], *, straight: bool) -> Written:
    """Write rows and positions in the transaction at hand. Raises `_NewDays`, or what `copy_events` raises."""
    if not batch.records:
        return Written()
    last = {_place(record): record for record in batch.records}
    known = {(each.topic, each.partition): each for each in await lock_positions(connection, CONSUMER, sorted(last))}
    # What was written before is looked at again: of what was refused it is not known that it was set aside.
    written = await _add(connection, batch, days, straight=straight)
    positions = [
        Position(topic, partition, record.offset + 1, record.timestamp_ms)
        for (topic, partition), record in last.items()
        if not _is_done(record, known.get((topic, partition)))
    ]
    await keep_positions(connection, CONSUMER, positions)
    return written


async def _add(connection: Connection, batch: Batch, days: AbstractSet[str], *, straight: bool) -> Written:
    """Add the rows of those who are not erased.

    What was received before the latest erasure waits until the others are there, because the server does one thing at
    a time.
    """
    add = copy_events if straight else insert_events
    until = await erased_until(connection)
    late: list[Made] = []

    def lines() -> Iterator[bytes]:
        for rows in batch.parts():
            if not batch.days <= days:
                return
            late.extend(each for each in rows if each[1].received_at <= until)
            yield b"".join([row.line for _, row in rows if row.received_at > until])

    inserted = await add(connection, lines())
    if not batch.days <= days:
        raise _NewDays
    kept = await without_erased(connection, late)
    if kept:
        inserted += await add(connection, [b"".join([row.line for _, row in kept])])
    erased = len(late) - len(kept)
    return Written(inserted, len(batch.rows) - inserted - erased, erased)


def _place(record: Delivered) -> tuple[str, int]:
    return record.topic.value, record.partition


def _is_done(record: Delivered, position: Position | None) -> bool:
    """Tell whether a record was written before. A topic that was made anew begins with later records."""
    return (
        position is not None and record.offset < position.next_offset and record.timestamp_ms <= position.record_at_ms
    )
