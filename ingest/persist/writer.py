"""Writes events: staged by `COPY`, moved by one `INSERT` that leaves out what is there, with positions, at once.

So a crash at any point neither loses a row nor doubles one: either rows and positions are there, or neither.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

from ingest.clock import Clock
from ingest.consume.step import Away, Poison
from ingest.db.database import VALUE_REFUSED, Connection, Database, DatabaseAway
from ingest.db.queries.events import Position, insert_events, keep_positions, lock_positions
from ingest.db.queries.requests import make_day_partition
from ingest.persist.refuse import without_erased
from ingest.persist.row import Row, Unusable, to_row
from ingest.transport.contract import Delivered

CONSUMER: Final = "persist"
DAYS_BACK: Final = 399
DAYS_AHEAD: Final = 6
"""Days around today that get a partition of their own; a day less than the database allows, for its other midnight."""


class Written(NamedTuple):
    """What became of the records of a batch."""

    inserted: int = 0
    repeated: int = 0
    erased: int = 0


class EventWriter:
    """A `Step` that makes rows of the topic `events`. `written` counts them since its start."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._days: set[str] = set()
        self.written = Written()

    async def do(self, records: Sequence[Delivered]) -> Sequence[Poison]:
        """Write rows for all records but those that can never be used. Raises `Away`."""
        poison: list[Poison] = []
        usable: list[tuple[Delivered, Row]] = []
        for record in records:
            try:
                usable.append((record, to_row(record)))
            except Unusable as error:
                poison.append(Poison(record, str(error)))
        try:
            await self._make_days({row.day for _, row in usable})
            poison += await self._write(usable, records)
        except DatabaseAway as error:
            raise Away from error
        return poison

    async def replay(self, records: Sequence[Delivered]) -> Sequence[Poison]:
        """Write rows for records that were set aside, wherever the consumer has come since. Raises `DatabaseAway`."""
        poison: list[Poison] = []
        for record in records:
            try:
                row = to_row(record)
                await self._make_days({row.day})
                await self._database.transact(lambda connection, one=(record, row): _insert(connection, [one]))  # type: ignore[misc]
            except Unusable as error:
                poison.append(Poison(record, str(error)))
            except VALUE_REFUSED:
                poison.append(Poison(record, "row_refused"))
        return poison

    async def _write(self, rows: list[tuple[Delivered, Row]], records: Sequence[Delivered]) -> list[Poison]:
        """Write rows in one transaction; where the database refuses one of them, in two, until it stands alone."""
        try:
            written = await self._database.transact(lambda connection: _write(connection, rows, records))
        except VALUE_REFUSED:
            if len(rows) <= 1:
                await self._database.transact(lambda connection: _write(connection, [], records))
                return [Poison(record, "row_refused") for record, _ in rows]
            half = len(rows) // 2
            first = await self._write(rows[:half], records[: records.index(rows[half][0])])
            return first + await self._write(rows[half:], records)
        self.written = Written(*map(sum, zip(self.written, written, strict=True)))
        return []

    async def _make_days(self, days: set[str]) -> None:
        """Make the partitions of days that are new to this process and near enough to today."""
        today = datetime.fromtimestamp(self._clock.now_ms() / 1_000, UTC).date()
        for day in days - self._days:
            if self._is_near(day, today):
                await self._database.run(
                    lambda connection, day=day: make_day_partition(connection, "events", day)  # type: ignore[misc]
                )
            self._days.add(day)
        if len(self._days) > 2 * (DAYS_BACK + DAYS_AHEAD):
            self._days.clear()

    @staticmethod
    def _is_near(day: str, today: date) -> bool:
        try:
            at = date.fromisoformat(day)
        except ValueError:
            return False
        return timedelta(days=-DAYS_BACK) <= at - today <= timedelta(days=DAYS_AHEAD)


async def _write(
    connection: Connection, rows: Sequence[tuple[Delivered, Row]], records: Sequence[Delivered]
) -> Written:
    if not records:
        return Written()
    places = sorted({_place(record) for record in records})
    known = {(each.topic, each.partition): each for each in await lock_positions(connection, CONSUMER, places)}
    fresh = [(record, row) for record, row in rows if not _is_done(record, known.get(_place(record)))]
    written = await _insert(connection, fresh)
    last = {_place(record): record for record in records}
    positions = [
        Position(topic, partition, record.offset + 1, record.timestamp_ms)
        for (topic, partition), record in last.items()
        if not _is_done(record, known.get((topic, partition)))
    ]
    await keep_positions(connection, CONSUMER, positions)
    return written._replace(repeated=len(rows) - written.inserted - written.erased)


async def _insert(connection: Connection, rows: Sequence[tuple[Delivered, Row]]) -> Written:
    """Add the rows of those who are not erased."""
    kept = await without_erased(connection, rows)
    inserted = await insert_events(connection, [row.line for _, row in kept]) if kept else 0
    return Written(inserted, len(kept) - inserted, len(rows) - len(kept))


def _place(record: Delivered) -> tuple[str, int]:
    return record.topic.value, record.partition


def _is_done(record: Delivered, position: Position | None) -> bool:
    """Tell whether a record was written before. A topic that was made anew begins with later records."""
    return (
        position is not None and record.offset < position.next_offset and record.timestamp_ms <= position.record_at_ms
    )
