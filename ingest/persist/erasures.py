"""What the topic `erasures` tells: the record of an erasure, and the step that takes it in."""

from collections.abc import Sequence

import msgspec

from ingest.consume.step import Away, Poison
from ingest.db.database import VALUE_REFUSED, Database, DatabaseAway
from ingest.db.queries.erasing import take_in
from ingest.erasure import Erasure
from ingest.event import RECORD_VERSION, Record
from ingest.transport.contract import Delivered


class _Meta(msgspec.Struct):
    v: int
    event_id: str
    project_id: str
    organization_id: str
    received_at: str


class _Erased(msgspec.Struct):
    subjects: list[str]


class ErasureRecord(msgspec.Struct):
    """The value of a record on the topic `erasures`: what was received up to `received_at` of these is refused."""

    meta: _Meta
    event: _Erased


def to_record(erasure: Erasure) -> Record:
    """Return the record by which consumers are told of an erasure."""
    meta = _Meta(RECORD_VERSION, erasure.id, erasure.project_id, erasure.organization_id, erasure.received_until)
    value = msgspec.json.encode(ErasureRecord(meta, _Erased(list(erasure.subjects))))
    return Record(erasure.project_id.encode(), value)


class ErasureReader:
    """A `Step` over the topic `erasures`: what a record tells of is known here afterwards, however often it comes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def do(self, records: Sequence[Delivered]) -> Sequence[Poison]:
        """Take all erasures in but those that no record of ours tells. Raises `Away`."""
        poison: list[Poison] = []
        for each in records:
            try:
                told = msgspec.json.decode(each.value, type=ErasureRecord)
                await self._take_in(told)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                poison.append(Poison(each, "record_malformed"))
            except VALUE_REFUSED:
                poison.append(Poison(each, "row_refused"))
            except DatabaseAway as error:
                raise Away from error
        return poison

    async def _take_in(self, told: ErasureRecord) -> None:
        meta = told.meta
        erasure = Erasure(
            meta.event_id, meta.organization_id, meta.project_id, meta.received_at, tuple(told.event.subjects)
        )
        await self._database.transact(lambda connection: take_in(connection, erasure))
