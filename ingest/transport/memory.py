"""The twin of the real transports for tests: same promises, no disk and no network, and failures on demand."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import NamedTuple

from ingest.clock import Clock, SystemClock
from ingest.event import Record
from ingest.transport.contract import SCHEMA, Delivered, Health, RecordTooLarge, Stored, Topic, Unavailable


class _Waiting(NamedTuple):
    topic: Topic
    records: Sequence[Record]
    timestamp_ms: int
    since_ms: int
    stored: asyncio.Future[None]


class MemoryTransport:
    """A `Publisher` that keeps what it stores in `records`. Closed and started again it still has it.

    `stored_as` is the promise it answers with, so that it can stand for Kafka or for the local log.
    """

    def __init__(
        self,
        *,
        stored_as: Stored = Stored.REPLICATED,
        ack_deadline_ms: int = 4_000,
        record_bytes_max: int = 1_000_000,
        clock: Clock | None = None,
    ) -> None:
        self._stored_as = stored_as
        self._ack_deadline_ms = ack_deadline_ms
        self._record_bytes_max = record_bytes_max
        self._clock = clock or SystemClock()
        self.records: defaultdict[Topic, list[Delivered]] = defaultdict(list)
        """All that was stored, by topic; the position in a list is the offset."""
        self.cursors: dict[tuple[str, Topic], int] = {}
        """The committed position of each consumer group."""
        self._waiting: deque[_Waiting] = deque()
        self._failures: deque[Unavailable | RecordTooLarge] = deque()
        self._held = False
        self._open = False
        self._news = asyncio.Event()

    async def start(self) -> None:
        """Begin, or begin again after `close`."""
        self._open = True

    async def publish(self, topic: Topic, records: Sequence[Record], timestamp_ms: int) -> Stored:
        """Store all `records`, at once or, while held, when they are released."""
        if not self._open:
            raise Unavailable("the transport is not open")
        if self._failures:
            raise self._failures.popleft()
        for position, record in enumerate(records):
            if len(record.key) + len(record.value) > self._record_bytes_max:
                raise RecordTooLarge(f"record {position} is larger than {self._record_bytes_max} bytes")
        stored = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(topic, list(records), timestamp_ms, self._clock.monotonic_ms(), stored))
        if not self._held:
            self._store_waiting()
        try:
            async with asyncio.timeout(self._ack_deadline_ms / 1000):
                await stored
        except TimeoutError:
            raise Unavailable(f"no acknowledgement within {self._ack_deadline_ms} ms") from None
        return self._stored_as

    def health(self) -> Health:
        """Tell what waits; an announced failure or a hold shows only in what it does."""
        age_ms = self._clock.monotonic_ms() - self._waiting[0].since_ms if self._waiting else 0
        pending = sum(len(waiting.records) for waiting in self._waiting)
        return Health(self._open, "" if self._open else "the transport is not open", pending, age_ms)

    async def close(self) -> None:
        """Store what is held, then take no more until the next `start`."""
        self.release()
        self._open = False

    def give_up(self) -> None:
        """Refuse whatever is held back, and take nothing more until the next `start`."""
        self._open = False
        while self._waiting:
            stored = self._waiting.popleft().stored
            if not stored.done():
                stored.set_exception(Unavailable("no longer waited for"))

    def fail_next(self, count: int = 1, error: Unavailable | RecordTooLarge | None = None) -> None:
        """Let the next `count` publishes raise `error`, `Unavailable` by default, storing nothing."""
        self._failures.extend([error or Unavailable("a failure was asked for")] * count)

    def hold(self) -> None:
        """Keep back whatever is published from now on: neither stored nor acknowledged."""
        self._held = True

    def release(self) -> None:
        """Store and acknowledge what was held back, in order, and hold back no longer."""
        self._held = False
        self._store_waiting()

    async def wait_for_news(self) -> None:
        """Return as soon as anything has been stored after this call."""
        await self._news.wait()

    def _store_waiting(self) -> None:
        while self._waiting:
            topic, records, timestamp_ms, _, stored = self._waiting.popleft()
            log = self.records[topic]
            for record in records:
                log.append(Delivered(topic, 0, len(log), timestamp_ms, record.key, record.value, SCHEMA))
            if not stored.done():
                stored.set_result(None)
        self._news.set()
        self._news = asyncio.Event()


class MemorySource:
    """A `Source` over a `MemoryTransport`, whose cursors it uses."""

    def __init__(self, transport: MemoryTransport, topic: Topic, group: str) -> None:
        self._transport = transport
        self._topic = topic
        self._group = group
        self._position = 0

    async def start(self) -> None:
        """Begin at the group's committed position, or at the oldest record where there is none."""
        self._position = self._transport.cursors.get((self._group, self._topic), 0)

    async def poll(self, records_max: int, wait_ms: int) -> Sequence[Delivered]:
        """Return the next 1 to `records_max` records, or none when `wait_ms` passed without any."""
        try:
            async with asyncio.timeout(wait_ms / 1000):
                while not (records := self._next(records_max)):
                    await self._transport.wait_for_news()
        except TimeoutError:
            return ()
        self._position += len(records)
        return records

    async def commit(self) -> None:
        """Remember that everything handed out so far is done."""
        self._transport.cursors[self._group, self._topic] = self._position

    async def lag_records(self) -> int | None:
        """Return how many records were stored behind those that were handed out."""
        return len(self._transport.records[self._topic]) - self._position

    async def close(self) -> None:
        """Forget what was handed out and not committed."""

    def _next(self, records_max: int) -> Sequence[Delivered]:
        return self._transport.records[self._topic][self._position : self._position + records_max]
