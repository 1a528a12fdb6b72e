"""Keeps what comes as one row a record: the first copy is kept, and a repeat changes nothing."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

from ingest.consume.step import Away, Poison
from ingest.db.database import VALUE_REFUSED, Connection, Database, DatabaseAway
from ingest.persist.row import Unusable
from ingest.transport.contract import Delivered

Row = TypeVar("Row")
Insert = Callable[[Connection, Sequence[Row]], Awaitable[Any]]
"""Adds rows that are not there yet, in the transaction at hand."""


class OnceWriter(Generic[Row]):
    """A `Step` over a topic of which no record is about a user, so that none is ever refused as erased."""

    def __init__(self, database: Database, read: Callable[[Delivered], Row], insert: Insert[Row]) -> None:
        """Take `read`, which makes a row of a record or raises `Unusable`."""
        self._database = database
        self._read = read
        self._insert = insert

    async def do(self, records: Sequence[Delivered]) -> Sequence[Poison]:
        """Keep all records but those that can never be used. Raises `Away`."""
        poison: list[Poison] = []
        usable: list[tuple[Delivered, Row]] = []
        for record in records:
            try:
                usable.append((record, self._read(record)))
            except Unusable as error:
                poison.append(Poison(record, str(error)))
        try:
            return poison + await self._keep(usable)
        except DatabaseAway as error:
            raise Away from error

    async def replay(self, records: Sequence[Delivered]) -> Sequence[Poison]:
        """Keep records that were set aside. Raises `Away`."""
        return await self.do(records)

    async def _keep(self, rows: list[tuple[Delivered, Row]]) -> list[Poison]:
        """Keep all in one transaction; where the database refuses one, in two, until it stands alone."""
        if not rows:
            return []
        try:
            await self._database.transact(lambda connection: self._insert(connection, [row for _, row in rows]))
        except VALUE_REFUSED:
            if len(rows) == 1:
                return [Poison(rows[0][0], "row_refused")]
            half = len(rows) // 2
            return await self._keep(rows[:half]) + await self._keep(rows[half:])
        return []
