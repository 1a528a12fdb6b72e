"""Records on their way to rows, made some at a time, so that the database works on the first ones meanwhile."""

from collections.abc import Iterator, Sequence
from typing import Final

from ingest.consume.step import Poison
from ingest.persist.row import Row, Unusable, to_row
from ingest.transport.contract import Delivered

PART_RECORDS: Final = 100
"""Records that become rows at a time: some milliseconds of the database's work."""

Made = tuple[Delivered, Row]


class Batch:
    """Records of which each becomes a row when it is first asked for, or poison.

    `rows`, `poison` and `days` (`YYYY-MM-DD`, UTC) hold what was made by now.
    """

    def __init__(self, records: Sequence[Delivered]) -> None:
        self.records = records
        self.rows: list[Made] = []
        self.poison: list[Poison] = []
        self.days: set[str] = set()
        self._made = 0

    def parts(self) -> Iterator[Sequence[Made]]:
        """Yield all rows in the order of their records: at once what was made before, then each part as it is made."""
        if self.rows:
            yield tuple(self.rows)
        while self._made < len(self.records):
            yield self._make(PART_RECORDS)

    def make_all(self) -> None:
        """Make what was not made yet."""
        self._make(len(self.records))

    def halves(self) -> tuple["Batch", "Batch"]:
        """Return two batches with half of the rows each, which know no poison; there have to be two, and all made."""
        middle = len(self.rows) // 2
        at = self.records.index(self.rows[middle][0])
        return self._of(self.records[:at], self.rows[:middle]), self._of(self.records[at:], self.rows[middle:])

    def without_rows(self) -> "Batch":
        """Return a batch of the same records of which none becomes a row."""
        return self._of(self.records, [])

    @classmethod
    def _of(cls, records: Sequence[Delivered], rows: list[Made]) -> "Batch":
        batch = cls(records)
        batch.rows, batch.days = rows, {row.day for _, row in rows}
        batch._made = len(records)
        return batch

    def _make(self, count: int) -> Sequence[Made]:
        """Make the next records into rows, and return these."""
        made: list[Made] = []
        for record in self.records[self._made : self._made + count]:
            try:
                made.append((record, to_row(record)))
            except Unusable as error:
                self.poison.append(Poison(record, str(error)))
        self._made = min(self._made + count, len(self.records))
        self.rows += made
        self.days.update(row.day for _, row in made)
        return made
