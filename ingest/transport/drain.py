"""Moves what lies in a spool to Kafka, oldest first, and deletes it behind the acknowledgement.

    read some chunks ─▶ publish them slice by slice ─▶ all acknowledged ─▶ delete them ─▶ the next ones

The place to go on is the oldest chunk that is there, so there is nothing else to remember: a process that dies in the
middle leaves chunks of which a part is on Kafka already, and whoever drains them next publishes that part again.

What has outlived its retention in the spool does not move: it would begin a second life on Kafka. It is deleted, and
counts as what retention deletes.

What is about somebody who is erased does not move: asked of each record right before it would go, and taken out of the
spool before its chunk is deleted, so that it counts as erased and not as drained.

It takes at most half of the publisher's time: after each slice it pauses for as long as the slice took, and at least as
long as `bytes_per_s_max` asks for. A slice that is acknowledged closes the breaker, which makes the drain the probe of
an outage as well.
"""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Final

import structlog

from ingest.event import Record
from ingest.transport.breaker import Breaker
from ingest.transport.contract import ConfigurationError, Delivered, Publisher, Topic, Unavailable
from ingest.transport.known_erased import KnownErased, nobody
from ingest.transport.local_log import LocalLog
from ingest.transport.log_erasure import PERSONAL
from ingest.transport.log_format import Damage
from ingest.transport.log_reader import DATABASE_DAMAGED, Found, LogReader
from ingest.transport.sealed import SealKeys

READ_RECORDS: Final = 1_000
"""Records from which a look at the spool takes no further chunk: in an outage with little traffic chunks are small."""

SLICE_BYTES_MAX: Final = 256 * 1024
BYTES_PER_S_MAX: Final = 16 * 2**20
PROBE_S: Final = 0.5
"""Pause after a slice that was not acknowledged, and between two looks at an empty spool."""

_log = structlog.get_logger(__name__)


class Drain:
    """Drains the spool `log`, whose files lie in `folder`, to `kafka`."""

    def __init__(
        self,
        log: LocalLog,
        folder: Path,
        keys: SealKeys,
        kafka: Publisher,
        breaker: Breaker,
        *,
        known: KnownErased | None = None,
        bytes_per_s_max: int = BYTES_PER_S_MAX,
    ) -> None:
        self._log = log
        self._kafka = kafka
        self._breaker = breaker
        self._known = known or nobody()
        self._bytes_per_s_max = bytes_per_s_max
        self._readers = {topic: LogReader(folder, keys, topic) for topic in Topic}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="drain")
        self.fault = ""
        """Why nothing can be moved at present; empty when it can."""

    async def run(self, *, until_empty: bool) -> None:
        """Drain until nothing is left, or for ever. What goes wrong is told and tried again."""
        await self._known.wait()
        while True:
            if await self.step():
                continue
            if not self._log.totals.waiting:
                if until_empty:
                    return
                if self._breaker.open_for_s > PROBE_S and not self._log.health().pending_records:
                    self._breaker.close()  # with nothing to probe with, the next request has to
            await asyncio.sleep(PROBE_S)

    async def step(self) -> bool:
        """Move the oldest chunks of each topic; tell whether anything was moved and nothing was in the way."""
        moved = 0
        try:
            for topic in Topic if self._log.totals.waiting else ():
                moved += await self._move_oldest(topic)
        except (Unavailable, ConfigurationError, OSError) as error:
            if str(error) != self.fault:  # once, not for each attempt that fails alike
                _log.warning("drain_waits", reason=str(error))
            self.fault = str(error)
            return False
        self.fault = ""
        return moved > 0

    def close(self) -> None:
        """Release the files; `run` must have ended."""
        self._thread.submit(self._close_readers)
        self._thread.shutdown(wait=True)

    async def _move_oldest(self, topic: Topic) -> int:
        """Move the oldest chunks of `topic`; return how many records were moved, set aside or erased."""
        found = await asyncio.get_running_loop().run_in_executor(self._thread, self._oldest, topic)
        for damage in found.skipped:
            await self._set_aside(damage)
        has_erased = False
        expired_ms = self._log.expired_before_ms(topic)
        for part in _slices([each for each in found.records if each.timestamp_ms >= expired_ms]):
            kept = part if topic not in PERSONAL else [each for each in part if not self._known.covers(each.value)]
            has_erased |= len(kept) < len(part)
            if kept:
                await self._publish(topic, kept)
        if has_erased:
            await self._log.erase(self._known.covers, [topic])
        gone = await self._log.delete_below(topic, found.read_up_to) if found.read_up_to else 0
        return gone + sum(damage.record_count for damage in found.skipped)

    def _oldest(self, topic: Topic) -> Found:
        return self._readers[topic].read(0, READ_RECORDS)

    async def _publish(self, topic: Topic, part: Sequence[Delivered]) -> None:
        """Publish records with the times at which they were received, and pause."""
        now_s = asyncio.get_running_loop().time
        begun = now_s()
        by_time = groupby(part, key=attrgetter("timestamp_ms"))
        batches = [(timestamp_ms, [Record(each.key, each.value) for each in some]) for timestamp_ms, some in by_time]
        publishing = [self._kafka.publish(topic, records, timestamp_ms) for timestamp_ms, records in batches]
        for result in await asyncio.gather(*publishing, return_exceptions=True):
            if isinstance(result, Unavailable):
                self._breaker.trip(str(result))
            if isinstance(result, BaseException):
                raise result
        self._breaker.close()
        await asyncio.sleep(max(now_s() - begun, sum(map(_size, part)) / self._bytes_per_s_max))

    async def _set_aside(self, damage: Damage) -> None:
        _log.error("records_set_aside", reason=str(damage))
        await self._log.set_aside(damage, replace=damage.reason == DATABASE_DAMAGED)

    def _close_readers(self) -> None:
        for reader in self._readers.values():
            reader.close()


def _size(record: Delivered) -> int:
    return len(record.key) + len(record.value)


def _slices(records: Sequence[Delivered]) -> Iterator[Sequence[Delivered]]:
    begin = size = 0
    for index, record in enumerate(records):
        size += _size(record)
        if size >= SLICE_BYTES_MAX:
            yield records[begin : index + 1]
            begin, size = index + 1, 0
    if begin < len(records):
        yield records[begin:]
