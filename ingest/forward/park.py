"""What cannot be sent for now: sealed, on the topic `forward-parked`, so that nothing behind it waits."""

import base64
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import zstandard

from ingest.clock import Clock
from ingest.consume.step import Away
from ingest.conversion import Platform
from ingest.event import Record
from ingest.forward.backlog import Backlog
from ingest.forward.job import Job, Key, Unreadable, read_record
from ingest.forward.ledger import Ledger
from ingest.forward.outcome import Fate, Outcome
from ingest.transport.contract import Publisher, RecordTooLarge, Topic, Unavailable
from ingest.transport.sealed import Sealed, SealKeys, Tampered

PARKED_MS_MAX: Final = 47 * 60 * 60 * 1000
"""Longest time from the first try on: the platforms drop a repeat for 48 h, and a call takes its time."""

VALUE_BYTES_MAX: Final = 1_000_000
_PURPOSE: Final = b"forward-parked/1"

TOO_LATE: Final = Outcome(Fate.EXPIRED, "parked_too_long")
NO_ROOM: Final = Outcome(Fate.EXPIRED, "parked_full")


class Parked(msgspec.Struct, frozen=True):
    """The value of a record on the topic `forward-parked`.

    `sealed` holds the record of the conversion, compressed, under the spool's key `key_id`, in base64; nothing else of
    it stands here but the identity of its event.
    """

    app_id: str
    event_id: str
    event_at: str
    platform: Platform
    begun_at_ms: int
    key_id: str
    sealed: str

    @property
    def key(self) -> Key:
        """By what the delivery is known."""
        return Key(self.app_id, self.event_id, self.event_at, self.platform)


class ParkingLot:
    """Parks jobs, at most about `records_max` of them: `backlog` knows how many wait there."""

    def __init__(
        self,
        publisher: Publisher,
        keys: SealKeys,
        ledger: Ledger,
        clock: Clock,
        *,
        records_max: int,
        backlog: Backlog,
    ) -> None:
        self._publisher = publisher
        self._keys = keys
        self._ledger = ledger
        self._clock = clock
        self._records_max = records_max
        self._backlog = backlog

    async def park(self, jobs: Sequence[Job], *, again: bool = False) -> None:
        """Store jobs until they are due again. Raises `Away` where they could not be.

        Those for which there is no room have expired; those that were parked before (`again`) have their room.
        """
        if not jobs:
            return
        if not again and self._backlog.parked + len(jobs) > self._records_max:
            await self._ledger.record([job.key for job in jobs], NO_ROOM)
            return
        await self.store(_record(job, self._keys) for job in jobs)
        if not again:
            self._backlog.add(len(jobs))

    async def store(self, records: Iterable[Record]) -> None:
        """Store records of parked jobs as they are. Raises `Away`."""
        try:
            await self._publisher.publish(Topic.FORWARD_PARKED, list(records), self._clock.now_ms())
        except (Unavailable, RecordTooLarge) as error:
            raise Away from error

    def reopen(self, parked: Parked) -> Job:
        """Return the job that was parked. Raises `Unreadable`, and `UnknownKey` where its key is not given."""
        try:
            box = self._keys.open(Sealed(parked.key_id, base64.b64decode(parked.sealed)), _PURPOSE)
            value = zstandard.decompress(box, VALUE_BYTES_MAX)
        except (Tampered, ValueError, zstandard.ZstdError):
            raise Unreadable("seal_broken") from None
        return Job(parked.key, read_record(value), value, parked.begun_at_ms)


def _record(job: Job, keys: SealKeys) -> Record:
    sealed = keys.seal(zstandard.compress(job.value), _PURPOSE)
    key = job.key
    box = base64.b64encode(sealed.box).decode()
    value = Parked(key.app_id, key.event_id, key.event_at, key.platform, job.begun_at_ms, sealed.key_id, box)
    return Record(f"{key.app_id}:{key.platform}:{key.event_id}".encode(), msgspec.json.encode(value))
