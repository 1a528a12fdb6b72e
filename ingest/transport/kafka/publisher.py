"""Publish to Kafka with `acks=all`, by group commit: requests that arrive together leave together.

A round is one batch per partition and one answer for all requests in it. It leaves `LINGER_S` after its first record,
or when a batch is full, and never while another is in flight: the next one fills meanwhile, so that the rounds follow
the pace of the brokers however slow it is. Measured: one
produce request costs some hundred microseconds whatever its size, and a future per record doubles the cost of an
event; so requests share the first and wait for one future each.

aiokafka's own idempotence stays off: with it a batch that meets a silent broker never expires and is delivered late,
and `stop()` hangs. Without it a batch fails at its deadline and the producer works on. Consumers drop repeats by the
identity of an event either way.

A round that is not acknowledged within `stall_ms` of its leaving says that the producer is stuck. Everything that waits
is told so at once, the producer is thrown away with all that it holds, and another one is made, again and again until
brokers answer. What the old one had on the wire may still arrive.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final
from zlib import crc32

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from ingest.event import Record
from ingest.transport.contract import (
    SCHEMA,
    ConfigurationError,
    Health,
    RecordTooLarge,
    Stored,
    Topic,
    Unavailable,
)
from ingest.transport.kafka.connection import Connection
from ingest.transport.kafka.discard import discard
from ingest.transport.kafka.flat_request import install
from ingest.transport.kafka.topics import TopicPlan, check, ensure_topics

LINGER_S: Final = 0.002  # 0.2 ms costs four times the CPU at one event a request, 5 ms saves nothing
ROUND_BYTES_MAX: Final = 512 * 1024  # of one partition's batch; the brokers' own limit is about 1 MB
FILL_S: Final = 0.25  # the records of a round share the deadline of its first, so none may join much later
RECORD_EXTRA_BYTES: Final = 64  # of a record beyond key and value: its header, lengths and offsets, rounded up
RECORD_BYTES_MAX: Final = 1_000_000  # of key and value; with its batch around it a broker takes about 1 MB
START_S: Final = 2.0  # longest wait of the start for brokers that are silent; then it goes on without them
CONNECT_S: Final = 5.0
RECONNECT_S: Final = 1.0
CANCEL_S: Final = 1.0
PAUSE_S: Final = 0.2  # a timer that comes later than this tells of a process that was paused
_HEADERS: Final = list(SCHEMA)

_log = structlog.get_logger(__name__)


class _Part:
    """What a round has for one partition: records with their timestamps, and about the bytes of their batch."""

    __slots__ = ("bytes", "records")

    def __init__(self) -> None:
        self.bytes = 0
        self.records: list[tuple[int, Record]] = []


class _Round:
    """What leaves together: records by topic and partition, and the requests that wait for all of them.

    The records are the caller's own, who may want them back; Kafka's batches, copies of them, are made when it leaves.

    `due` is called `LINGER_S` after the begin, `late` at the deadline or once it has flown for too long.
    """

    __slots__ = ("_late", "_loop", "began", "deadline", "is_due", "linger", "parts", "waiters")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        deadline_s: float,
        due: Callable[["_Round"], None],
        late: Callable[[], None],
    ) -> None:
        self.parts: dict[Topic, list[_Part]] = {}
        self.waiters: list[asyncio.Future[bool]] = []
        self.began = time.monotonic()
        self.is_due = False
        self.linger = loop.call_later(LINGER_S, due, self)
        self.deadline = loop.call_later(deadline_s, self._expire, loop.time() + deadline_s)
        self._loop = loop
        self._late = late

    def fly(self, stall_s: float) -> None:
        """Count the time from now: what waited for its turn until here did so because much was to be done."""
        self.deadline.cancel()
        self.deadline = self._loop.call_later(stall_s, self._expire, self._loop.time() + stall_s)

    def settle(self, *, stored: bool) -> None:
        """Answer all who wait, each by a future of its own: one that is cancelled takes nobody along."""
        self.linger.cancel()
        self.deadline.cancel()
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(stored)

    def add(self, topic: Topic, partitions: int) -> list[_Part]:
        """Make room for the records of a topic."""
        parts = self.parts[topic] = [_Part() for _ in range(partitions)]
        return parts

    def records(self) -> int:
        return sum(len(part.records) for parts in self.parts.values() for part in parts)

    def _expire(self, due: float) -> None:
        """Be late, unless this process stood still itself: then acknowledgements may lie there unread."""
        now = self._loop.time()
        if now - due > PAUSE_S:
            self.deadline = self._loop.call_later(PAUSE_S, self._expire, now + PAUSE_S)
        else:
            self._late()


class KafkaPublisher:
    """A `Publisher` over one aiokafka producer at a time.

    `ack_deadline_ms` bounds the wait of a request, `stall_ms` the time on the way from which the producer counts as
    stuck; without it the deadline does.
    """

    def __init__(
        self, connection: Connection, plan: TopicPlan, *, ack_deadline_ms: int, stall_ms: int | None = None
    ) -> None:
        self._connection = connection
        self._plan = plan
        self._deadline_s = ack_deadline_ms / 1000
        self._stall_s = min(ack_deadline_ms, stall_ms or ack_deadline_ms) / 1000
        self._producer: AIOKafkaProducer | None = None
        self._partitions: dict[Topic, int] = {}
        self._reason = "Kafka has not been reached yet"
        self._filling: _Round | None = None
        self._sealed: deque[_Round] = deque()
        self._flying: _Round | None = None
        self._commits: asyncio.Task[None] | None = None
        self._connects: asyncio.Task[None] | None = None
        self._discards: set[asyncio.Task[None]] = set()
        self._closed = False
        self.rounds_total = 0
        self.failures_total = 0

    async def start(self) -> None:
        """See `Publisher.start`."""
        self._loop = asyncio.get_running_loop()
        install()
        first = self._loop.create_task(self._connect())
        try:
            done, _ = await asyncio.wait([first], timeout=START_S)
        except asyncio.CancelledError:
            first.cancel()
            raise
        if done and not isinstance(first.exception(), Unavailable):
            first.result()
        else:
            self._connects = self._loop.create_task(self._keep_connecting(first))

    async def publish(self, topic: Topic, records: Sequence[Record], timestamp_ms: int) -> Stored:
        """See `Publisher.publish`; the partition is the CRC-32 of the key modulo their number."""
        if self._producer is None or self._closed:
            raise Unavailable(self._reason or "the publisher is closed")
        for position, record in enumerate(records):
            if len(record.key) + len(record.value) > RECORD_BYTES_MAX:
                raise RecordTooLarge(f"record {position} is larger than {RECORD_BYTES_MAX} bytes")
        partitions = self._partitions[topic]
        round_ = self._filling or self._open()
        parts = round_.parts.get(topic) or round_.add(topic, partitions)
        waiters = []
        for record in records:
            part = parts[crc32(record.key) % partitions]
            size = len(record.key) + len(record.value) + RECORD_EXTRA_BYTES
            if part.bytes + size > ROUND_BYTES_MAX and part.bytes:
                waiters.append(self._wait(round_))
                self._seal()
                round_ = self._open()
                parts = round_.add(topic, partitions)
                part = parts[crc32(record.key) % partitions]
            part.bytes += size
            part.records.append((timestamp_ms, record))
        waiters.append(self._wait(round_))
        stored = True
        for waiter in waiters:
            stored &= await waiter
        if not stored:
            raise Unavailable(self._reason or "Kafka did not acknowledge in time")
        return Stored.REPLICATED

    def health(self) -> Health:
        """See `Publisher.health`."""
        rounds = self._pending()
        if not rounds:
            return Health(not self._reason, self._reason, 0, 0)
        age_ms = int((time.monotonic() - rounds[0].began) * 1000)
        return Health(not self._reason, self._reason, sum(round_.records() for round_ in rounds), age_ms)

    async def close(self) -> None:
        """See `Publisher.close`."""
        if self._closed:
            return
        self._closed = True
        if self._connects is not None:
            await self._end(self._connects, 0)
        if self._filling is not None:
            self._seal()
        if self._commits is not None:
            await self._end(self._commits, self._stall_s)
        self._throw_away()
        if self._discards:
            await asyncio.wait(self._discards, timeout=self._stall_s)

    def give_up(self) -> None:
        """Refuse whatever waits at once, and take nothing more; `close` still has to follow."""
        self._reason = "the publisher was told to wait no longer"
        if self._connects is not None:
            self._connects.cancel()
        self._throw_away()

    async def _end(self, task: "asyncio.Task[None]", timeout_s: float) -> None:
        """Give a task time to end, then cancel it; a task that does not even heed that is left to the loop's end."""
        if timeout_s:
            await asyncio.wait([task], timeout=timeout_s)
        task.cancel()
        await asyncio.wait([task], timeout=CANCEL_S)

    def _pending(self) -> list[_Round]:
        """Return the rounds that wait for their acknowledgement, oldest first."""
        return [round_ for round_ in (self._flying, *self._sealed, self._filling) if round_ is not None]

    async def _connect(self) -> None:
        """Check the topics and start the producer. Raises `Unavailable` or `ConfigurationError`."""
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._begin()
        except TimeoutError:
            raise Unavailable("Kafka does not answer in time") from None

    async def _begin(self) -> None:
        states = await ensure_topics(self._connection, self._plan)
        check(states)
        producer = AIOKafkaProducer(
            acks="all",
            enable_idempotence=False,
            max_batch_size=2 * ROUND_BYTES_MAX,  # a round is bounded by its own count
            max_request_size=16 * ROUND_BYTES_MAX,
            request_timeout_ms=int(self._deadline_s * 1000),  # never reached: a round expires earlier
            retry_backoff_ms=50,
            metadata_max_age_ms=60_000,
            **self._connection.arguments(),
        )
        try:
            await producer.start()
        except BaseException as error:
            await discard(producer)
            if not isinstance(error, KafkaError | OSError):
                raise
            raise Unavailable(f"Kafka does not answer: {type(error).__name__}") from error
        self._partitions = {state.topic: state.partitions for state in states}
        self._producer = producer
        self._reason = ""

    async def _keep_connecting(self, first: "asyncio.Task[None]") -> None:
        """Wait for the first attempt, then try again until one succeeds."""
        attempt: Awaitable[None] = first
        while True:
            try:
                await attempt
            except (Unavailable, ConfigurationError) as error:
                self._reason = str(error)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next attempt may fare better
                self._reason = f"Kafka cannot be used: {type(error).__name__}"
                _log.error("bug", error=error)
            else:
                _log.info("kafka_connected")
                return
            await asyncio.sleep(RECONNECT_S)
            attempt = self._connect()

    def _open(self) -> _Round:
        self._filling = _Round(self._loop, self._deadline_s, self._due, self._stalled)
        return self._filling

    def _due(self, round_: _Round) -> None:
        """Let a round leave, or go on filling for a while where another is under way."""
        if self._commits is None or self._commits.done() or round_.is_due:
            self._seal()
        else:
            round_.is_due = True
            round_.linger = self._loop.call_later(FILL_S - LINGER_S, self._due, round_)

    def _stalled(self) -> None:
        """Tell everybody who waits, and begin anew with another producer."""
        self._reason = "Kafka did not acknowledge in time"
        _log.warning("kafka_producer_replaced", reason=self._reason)
        self._throw_away()
        if not self._closed:
            self._connects = self._loop.create_task(self._keep_connecting(self._loop.create_task(self._connect())))

    def _throw_away(self) -> None:
        """Give up the producer and all rounds; who waits for one is told that it is not known to be stored."""
        producer, self._producer = self._producer, None
        if self._commits is not None:
            self._commits.cancel()
        for round_ in self._pending():
            round_.settle(stored=False)
        self._filling = self._flying = self._commits = None
        self._sealed.clear()
        if producer is not None:
            discarding = self._loop.create_task(discard(producer))
            self._discards.add(discarding)
            discarding.add_done_callback(self._discards.discard)

    def _wait(self, round_: _Round) -> asyncio.Future[bool]:
        waiter: asyncio.Future[bool] = self._loop.create_future()
        round_.waiters.append(waiter)
        return waiter

    def _seal(self) -> None:
        round_ = self._filling
        assert round_ is not None
        round_.linger.cancel()
        self._filling = None
        self._sealed.append(round_)
        if self._commits is None or self._commits.done():
            self._commits = self._loop.create_task(self._commit_sealed())

    async def _commit_sealed(self) -> None:
        """Send one round after another until none waits."""
        while self._sealed or (self._filling is not None and self._filling.is_due):
            if not self._sealed:
                self._seal()
            self._flying = round_ = self._sealed.popleft()
            round_.fly(self._stall_s)
            round_.settle(stored=await self._commit(round_))
            self._flying = None

    async def _commit(self, round_: _Round) -> bool:
        producer = self._producer
        assert producer is not None
        try:
            acknowledgements = [
                await producer.send_batch(_batch(producer, part), self._plan.name(topic), partition=partition)
                for topic, parts in round_.parts.items()
                for partition, part in enumerate(parts)
                if part.records
            ]
            results = await asyncio.gather(*acknowledgements, return_exceptions=True)
        except (KafkaError, OSError) as error:
            results = [error]
        failures = [result for result in results if isinstance(result, BaseException)]
        if failures:
            self._reason = f"Kafka did not acknowledge: {type(failures[0]).__name__}"
        else:
            self._reason = ""
        self.rounds_total += 1
        self.failures_total += bool(failures)
        return not failures


def _batch(producer: AIOKafkaProducer, part: _Part) -> Any:
    """Return Kafka's batch of a part, which is closed by whoever sends it."""
    batch = producer.create_batch()
    append = batch.append
    for timestamp_ms, record in part.records:
        if append(timestamp=timestamp_ms, key=record.key, value=record.value, headers=_HEADERS) is None:
            raise RuntimeError("a batch has less room than its round")
    return batch
