"""Keeps what is said of users: the newest statement of each property and of each choice."""

from collections.abc import Callable, Sequence

from ingest.consume.step import Away, Poison
from ingest.db.database import VALUE_REFUSED, Connection, Database, DatabaseAway
from ingest.db.queries.erasing import keep_erasers_away
from ingest.db.queries.statements import Statement, Table, keep_statements
from ingest.persist.row import Unusable
from ingest.transport.contract import Delivered

Read = Callable[[Delivered], list[Statement]]
"""Returns what a record says. Raises `Unusable`."""


class UserWriter:
    """A `Step` over one of the topics about users. What it is given again changes nothing."""

    def __init__(self, database: Database, table: Table, read: Read) -> None:
        self._database = database
        self._table: Table = table
        self._read = read

    async def do(self, records: Sequence[Delivered]) -> Sequence[Poison]:
        """Keep what all records say but those that can never be used. Raises `Away`."""
        poison: list[Poison] = []
        usable: list[tuple[Delivered, list[Statement]]] = []
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
        """Keep what records say that were set aside. Raises `Away`."""
        return await self.do(records)

    async def _keep(self, said: list[tuple[Delivered, list[Statement]]]) -> list[Poison]:
        """Keep all in one transaction; where the database refuses one, in two, until it stands alone."""
        statements = [statement for _, some in said for statement in some]
        if not statements:
            return []

        async def work(connection: Connection) -> None:
            await keep_erasers_away(connection)
            await keep_statements(connection, self._table, statements)

        try:
            await self._database.transact(work)
        except VALUE_REFUSED:
            if len(said) == 1:
                return [Poison(said[0][0], "row_refused")]
            half = len(said) // 2
            return await self._keep(said[:half]) + await self._keep(said[half:])
        return []
