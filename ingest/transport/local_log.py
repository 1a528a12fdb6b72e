"""The embedded transport: a durable log in a folder of this machine, for an edge that has no Kafka or has lost it.

    publish ─ encode ─▶ inbox ─▶ writer's thread: seal, insert, commit, sync, raise the mark ─▶ acknowledge all at once

What it promises is `Stored.SPOOLED`: every record of the batch lies on stable storage of this one machine. The event
loop never waits for the disk. `log_format` tells what the disk holds, `log_writer` how it gets there.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ingest.clock import Clock, SystemClock
from ingest.event import Record
from ingest.transport.contract import ConfigurationError, Health, RecordTooLarge, Stored, Topic, Unavailable
from ingest.transport.files import FileLock, private_folder, refuse_network_file_system
from ingest.transport.log_cut import Cut, cut_below
from ingest.transport.log_erasure import PERSONAL, LogEraser
from ingest.transport.log_format import LOCK, Batch, Covers, Damage, Disk, Totals, encode_records
from ingest.transport.log_reader import LogReader
from ingest.transport.log_store import Expired, LogStore
from ingest.transport.log_writer import Append, Delete, Inbox, LogWriter, Overwrite, Replace, SetAside, Shorten, Stop
from ingest.transport.sealed import SealKeys, Tampered, UnknownKey

RECORD_BYTES_MAX: Final = 1_000_000
"""Largest record, key and value together: about what a Kafka topic takes, so that a spooled record can move there."""

WAITING_BYTES_MAX: Final = 64 * 2**20
"""Bytes that may wait for the writer; beyond it `publish` raises `Unavailable` at once."""


class LocalLog:
    """A `Publisher` over a folder that it alone writes.

    `bytes_max` bounds the database; the WAL adds a few MiB. A file keeps its size, freed pages are used again.
    `retention_ms` deletes old records by topic, at the start and each minute; topics without an entry keep everything.
    """

    def __init__(
        self,
        folder: Path,
        keys: SealKeys,
        *,
        bytes_max: int,
        retention_ms: Mapping[Topic, int] = MappingProxyType({}),
        ack_deadline_ms: int = 4_000,
        waiting_bytes_max: int = WAITING_BYTES_MAX,
        record_bytes_max: int = RECORD_BYTES_MAX,
        clock: Clock | None = None,
        disk: Disk | None = None,
    ) -> None:
        self._folder = folder
        self._keys = keys
        self._retention_ms = retention_ms
        self._ack_deadline_ms = ack_deadline_ms
        self._waiting_bytes_max = waiting_bytes_max
        self._record_bytes_max = record_bytes_max
        self._clock = clock or SystemClock()
        self._store = LogStore(folder, keys, bytes_max=bytes_max, clock=self._clock, disk=disk or Disk())
        self._inbox = Inbox()
        self._writer = LogWriter(
            self._store,
            self._inbox,
            self._settle_from_thread,
            clock=self._clock,
            retention_ms={topic.value: keep_ms for topic, keep_ms in retention_ms.items()},
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock: FileLock | None = None
        self._closing = False
        self._erasing = asyncio.Lock()
        self._since_ms: deque[int] = deque()  # one entry for each batch that waits, oldest first
        self._waiting_records = 0
        self._waiting_bytes = 0

    async def start(self) -> None:
        """Take the folder and recover what it holds.

        Raises `ConfigurationError` when another process has it, when it may not be written, or when the keys do not
        fit. A disk that does not work for now is no error: it is tried again each second and for each publish.
        """
        self._loop = asyncio.get_running_loop()
        self._lock = await asyncio.to_thread(self._take_folder)
        self._writer.start()
        try:
            await asyncio.shield(asyncio.wrap_future(self._writer.opened))
        except ConfigurationError:
            await self.close()
            raise

    async def publish(self, topic: Topic, records: Sequence[Record], timestamp_ms: int) -> Stored:
        """Store all `records` of one receipt together, in this order.

        Raises `RecordTooLarge`, or `Unavailable` when they are not known to be on stable storage: the disk does not
        work, the log or its inbox is full, or the ack deadline passed.
        """
        if self._loop is None or self._closing:
            raise Unavailable("the log is not open")
        if not records:
            return Stored.SPOOLED
        encoded = encode_records(records)
        if len(encoded) > self._record_bytes_max:
            self._refuse_too_large(records)
        if self._waiting_bytes + len(encoded) > self._waiting_bytes_max:
            raise Unavailable(f"{self._waiting_bytes} bytes wait for the disk already")
        stored = self._loop.create_future()
        self._waiting_bytes += len(encoded)
        self._waiting_records += len(records)
        self._since_ms.append(self._clock.monotonic_ms())
        self._inbox.put(Append(topic.value, Batch(timestamp_ms, len(records), encoded), stored))
        try:
            async with asyncio.timeout(self._ack_deadline_ms / 1000):
                await stored
        except TimeoutError:
            raise Unavailable(f"the disk gave no acknowledgement within {self._ack_deadline_ms} ms") from None
        return Stored.SPOOLED

    async def trim(self, topic: Topic, before_ms: int) -> int:
        """Delete all chunks of `topic` that hold nothing stamped `before_ms` or later; return the number of records.

        The bytes are overwritten, also in the WAL unless a reader holds on to it; then that is made up for later.
        Raises `Unavailable` when the disk does not work or the log is closed meanwhile.
        """
        return await self._delete(topic, Expired.OLDER_THAN_MS, before_ms)

    async def delete_below(self, topic: Topic, offset: int) -> int:
        """Delete all chunks of `topic` that lie wholly below `offset`; otherwise as `trim`."""
        return await self._delete(topic, Expired.BELOW_OFFSET, offset)

    async def forget_below(self, topic: Topic, offset: int) -> int:
        """Delete all records of `topic` below `offset`, also those of a chunk that goes on behind it; else as `trim`.

        A chunk that is damaged or whose key is missing stays until all of it lies below.
        """
        records = await self.delete_below(topic, offset)
        async with self._erasing:  # which would miss the records of a chunk that changed since it looked
            cut = await asyncio.to_thread(self._cut_below, topic, offset)
            if cut is not None:
                records += await self._order(Shorten(cut, Future()))
                await self._order(Overwrite(Future()))
        return records

    async def set_aside(self, damage: Damage, *, replace: bool = False) -> None:
        """Take what cannot be read out of the way: it counts as lost, and its chunks are kept in a table of their own.

        With `replace` the database itself is damaged there: it is replaced by all of it that can be read. Raises
        `Unavailable` as `trim` does.
        """
        await self._order(SetAside(damage, replace, Future()))

    async def erase(self, covers: Covers, topics: Collection[Topic] = PERSONAL) -> int:
        """Take out every record that is there now and whose value `covers` holds for; return how many these are.

        The others keep their offsets. The bytes are overwritten, also in the WAL: that is tried again with the next
        erasure while a reader holds on to it. It takes at most half of one processor, and a second call waits for the
        first. Raises `Unavailable` as `trim` does, or `ConfigurationError` where a key is missing; then some may be
        gone already.
        """
        async with self._erasing:
            erased = 0
            for topic in topics:
                erased += await self._erase_from(topic, covers)
            await self._order(Overwrite(Future()))
            return erased

    def expired_before_ms(self, topic: Topic) -> int:
        """Return the Unix time before which a record of `topic` has outlived its retention, 0 where it keeps all."""
        keep_ms = self._retention_ms.get(topic)
        return 0 if keep_ms is None else self._clock.now_ms() - keep_ms

    @property
    def is_open(self) -> bool:
        """Whether it was started and not closed; the disk may not work all the same."""
        return self._loop is not None and not self._closing

    @property
    def damage(self) -> Sequence[Damage]:
        """The offsets that are known to be lost, found at this start or an earlier one."""
        return self._store.damage

    @property
    def totals(self) -> Totals:
        """What became of all records that were ever stored in the folder."""
        return self._store.totals

    @property
    def bytes_used(self) -> int:
        """Bytes of `bytes_max` that are used."""
        return self._store.bytes_used

    @property
    def oldest_age_ms(self) -> int:
        """How long ago the oldest record that is there was received, 0 where there is none."""
        oldest_ms = self._store.oldest_ms
        return 0 if oldest_ms is None else max(0, self._clock.now_ms() - oldest_ms)

    def health(self) -> Health:
        """Tell whether records can be stored. What was found lost at the start stands in `reason` with `ok` true."""
        age_ms = self._clock.monotonic_ms() - self._since_ms[0] if self._since_ms else 0
        fault = self._writer.fault
        if not self.is_open:
            fault = "the log is not open"
        elif not fault and age_ms > self._ack_deadline_ms:
            fault = f"the disk has given no acknowledgement for {age_ms} ms"
        return Health(not fault, fault or self._store.warning, self._waiting_records, age_ms)

    async def close(self) -> None:
        """Store what waits, empty the WAL, give the folder back. A second call waits for the first and does no more."""
        if self._lock is None:
            return
        if not self._closing:
            self._closing = True
            self._inbox.put(Stop())
        await asyncio.shield(asyncio.wrap_future(self._writer.stopped))
        self._lock.release()

    def _take_folder(self) -> FileLock:
        try:
            private_folder(self._folder)
            refuse_network_file_system(self._folder)
            return FileLock(self._folder / LOCK, f"the local log {self._folder}")
        except OSError as error:
            raise ConfigurationError(f"the folder of the local log cannot be used: {error}") from error

    def _refuse_too_large(self, records: Sequence[Record]) -> None:
        for position, record in enumerate(records):
            if len(record.key) + len(record.value) > self._record_bytes_max:
                raise RecordTooLarge(f"record {position} is larger than {self._record_bytes_max} bytes")

    async def _delete(self, topic: Topic, expired: Expired, bound: int) -> int:
        return await self._order(Delete(topic.value, expired, bound, Future()))

    def _cut_below(self, topic: Topic, offset: int) -> Cut | None:
        with contextlib.closing(LogReader(self._folder, self._keys, topic)) as reader:
            chunk = reader.chunk_around(offset)
        try:
            return None if chunk is None else cut_below(chunk, offset, self._keys)
        except (Tampered, UnknownKey):
            return None

    async def _erase_from(self, topic: Topic, covers: Covers) -> int:
        eraser, loop = LogEraser(self._folder, self._keys, topic), asyncio.get_running_loop()
        thread = ThreadPoolExecutor(1, thread_name_prefix="log-eraser")
        position: int | None = 0
        erased = 0
        try:
            while position is not None:
                begun = time.monotonic()
                look = await loop.run_in_executor(thread, eraser.look, position, covers)
                if look.rewrites:
                    erased += await self._order(Replace(look.rewrites, Future()))
                position = look.next_offset
                if position is not None:
                    await asyncio.sleep(time.monotonic() - begun)
        finally:
            thread.submit(eraser.close)
            thread.shutdown(wait=False)
        return erased

    async def _order(self, order: Delete | SetAside | Replace | Shorten | Overwrite) -> int:
        if not self.is_open:
            raise Unavailable("the log is not open")
        self._inbox.put(order)
        return await asyncio.wrap_future(order.done)

    def _settle_from_thread(self, appends: Sequence[Append], error: Unavailable | None) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is gone and nobody waits any more
                self._loop.call_soon_threadsafe(self._settle, appends, error)

    def _settle(self, appends: Sequence[Append], error: Unavailable | None) -> None:
        for _, batch, stored in appends:
            self._since_ms.popleft()
            self._waiting_records -= batch.record_count
            self._waiting_bytes -= len(batch.records)
            if stored.done():  # its caller gave up
                continue
            if error is None:
                stored.set_result(None)
            else:
                stored.set_exception(Unavailable(*error.args))
