"""What is done with records of `forward` and of `forward-parked`: the same, but for where they come from."""

from collections.abc import Sequence

import msgspec
import structlog

from ingest.clock import Clock
from ingest.consume.step import Poison
from ingest.event import Record
from ingest.forward.forwarder import Forwarder
from ingest.forward.job import Job, Key, Unreadable, jobs_of
from ingest.forward.ledger import Ledger
from ingest.forward.park import PARKED_MS_MAX, TOO_LATE, Parked, ParkingLot
from ingest.transport.contract import Delivered
from ingest.transport.sealed import UnknownKey

_log = structlog.get_logger(__name__)


class ForwardStep:
    """A `Step` over the topic `forward`."""

    def __init__(self, forwarder: Forwarder, lot: ParkingLot, clock: Clock) -> None:
        self._forwarder = forwarder
        self._lot = lot
        self._clock = clock

    async def do(self, records: Sequence[Delivered]) -> Sequence[Poison]:
        """Forward what can be forwarded now and park the rest. Raises `Away`."""
        poison: list[Poison] = []
        jobs: list[Job] = []
        now_ms = self._clock.now_ms()
        for record in records:
            try:
                jobs += jobs_of(record.value, now_ms)
            except Unreadable as error:
                poison.append(Poison(record, str(error)))
        await self._lot.park(await self._forwarder.forward(jobs))
        return poison


class ParkedStep:
    """A `Step` over the topic `forward-parked`. What still cannot be sent goes to its end, as it is."""

    def __init__(self, forwarder: Forwarder, lot: ParkingLot, ledger: Ledger, clock: Clock) -> None:
        self._forwarder = forwarder
        self._lot = lot
        self._ledger = ledger
        self._clock = clock

    async def do(self, records: Sequence[Delivered]) -> Sequence[Poison]:
        """Forward what can be forwarded now, let expire what is too late, and park the rest again. Raises `Away`."""
        poison: list[Poison] = []
        jobs: list[Job] = []
        late: list[Key] = []
        waiting: list[Record] = []
        oldest_ms = self._clock.now_ms() - PARKED_MS_MAX
        for record in records:
            try:
                parked = msgspec.json.decode(record.value, type=Parked)
                if parked.begun_at_ms < oldest_ms:
                    late.append(parked.key)
                elif self._forwarder.may_try(parked.app_id, parked.platform):
                    jobs.append(self._lot.reopen(parked))
                else:
                    waiting.append(Record(record.key, record.value))
            except (msgspec.MsgspecError, UnicodeDecodeError):
                poison.append(Poison(record, "record_malformed"))
            except Unreadable as error:
                poison.append(Poison(record, str(error)))
            except UnknownKey as error:
                _log.error("parked_not_opened", error=error, offset=record.offset)
                waiting.append(Record(record.key, record.value))
        if late:
            await self._ledger.record(await self._ledger.open(late), TOO_LATE)
        left = await self._forwarder.forward(jobs, probing=True)
        if waiting:
            await self._lot.store(waiting)
        await self._lot.park(left, again=True)
        return poison
