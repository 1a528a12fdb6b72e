"""Publish to Kafka with `acks=all`, by group commit: requests that arrive together leave together.

A round is one batch per partition and one answer for all requests in it. It leaves `LINGER_S` after its first record,
or when a batch is full, and never while another is in flight: the next one fills meanwhile, so that the rounds follow
the pace of the brokers however slow it is. Measured: one
produce request costs some hundred microseconds whatever its size, and a future per record doubles the cost of an
event; so requests share the first and wait for one future each.

aiokafka's own idempotence stays off: with it a batch that meets a silent broker never expires and is delivered late,
and `stop()` hangs. Without it a batch fails at its deadline and the producer works on. Consumers drop repeats by the
identity of an event either way.

A failure makes the publisher unhealthy, and a balancer may send no more traffic by which it could show that it has
recovered. So the brokers are asked in the background until they answer again.
"""

import asyncio
import contextlib
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
from ingest.transport.kafka.topics import TopicPlan, check, ensure_topics

LINGER_S: Final = 0.002  # 0.2 ms costs four times the CPU at one event a request, 5 ms saves nothing
ROUND_BYTES_MAX: Final = 512 * 1024  # of one partition's batch; the brokers' own limit is about 1 MB
FILL_S: Final = 0.25  # the records of a round share the deadline of its first, so none may join much later
RECORD_BYTES_MAX: Final = 1_000_000  # of key and value; with its batch around it a broker takes about 1 MB
START_S: Final = 5.0  # longest wait of the start for brokers that are silent; then it goes on without them
RECONNECT_S: Final = 1.0
CANCEL_S: Final = 1.0
_HEADERS: Final = list(SCHEMA)

_log = structlog.get_logger(__name__)


class _Round:
    """What leaves together: batches by topic and partition, and the requests that wait for all of them.

    `due` is called `LINGER_S` after the begin and `late` at the deadline; by then all waiters have been answered.
    """

    __slots__ = ("_late", "batches", "began", "deadline", "expired", "is_due", "linger", "waiters")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        deadline_s: float,
        due: Callable[["_Round"], None],
        late: Callable[["_Round"], None],
    ) -> None:
        self.batches: dict[Topic, list[Any]] = {}
        self.waiters: list[asyncio.Future[bool]] = []
        self.began = time.monotonic()
        self.is_due = False
        self.expired = False
        self.linger = loop.call_later(LINGER_S, due, self)
        self.deadline = loop.call_later(deadline_s, self._expire)
        self._late = late

    def settle(self, *, stored: bool) -> None:
        """Answer all who wait, each by a future of its own: one that is cancelled takes nobody along."""
        self.deadline.cancel()
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(stored)

    def records(self) -> int:
        return sum(batch.record_count() for batches in self.batches.values() for batch in batches)

    def _expire(self) -> None:
        self.expired = True
        self.settle(stored=False)
        self._late(self)


class KafkaPublisher:
    """A `Publisher` over one aiokafka producer."""

    def __init__(self, connection: Connection, plan: TopicPlan, *, ack_deadline_ms: int) -> None:
        self._connection = connection
        self._plan = plan
        self._deadline_s = ack_deadline_ms / 1000
        self._producer: AIOKafkaProducer | None = None
        self._partitions: dict[Topic, int] = {}
        self._reason = "Kafka has not been reached yet"
        self._filling: _Round | None = None
        self._sealed: deque[_Round] = deque()
        self._flying: _Round | None = None
        self._commits: asyncio.Task[None] | None = None
        self._connects: asyncio.Task[None] | None = None
        self._probes: asyncio.Task[None] | None = None
        self._closed = False
        self.rounds_total = 0
        self.failures_total = 0

    async def start(self) -> None:
        """See `Publisher.start`."""
        self._loop = asyncio.get_running_loop()
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
        batches = round_.batches.get(topic) or self._batches(round_, topic)
        waiters = []
        for record in records:
            key, value = record.key, record.value
            number = crc32(key) % partitions
            if batches[number].append(timestamp=timestamp_ms, key=key, value=value, headers=_HEADERS) is None:
                waiters.append(self._wait(round_))
                self._seal()
                round_ = self._open()
                batches = self._batches(round_, topic)
                # The first record of a batch finds room whatever its size.
                batches[number].append(timestamp=timestamp_ms, key=key, value=value, headers=_HEADERS)
        waiters.append(self._wait(round_))
        del records  # the batches hold them now; a second copy would last as long as the wait
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
        for task in (self._connects, self._probes):
            if task is not None:
                await self._end(task, 0)
        if self._filling is not None:
            self._seal()
        if self._commits is not None:
            await self._end(self._commits, self._deadline_s)
        for round_ in self._pending():
            round_.settle(stored=False)
        if self._producer is not None:
            await self._end(self._loop.create_task(self._producer.stop()), self._deadline_s)

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
        states = await ensure_topics(self._connection, self._plan)
        check(states)
        producer = AIOKafkaProducer(
            acks="all",
            enable_idempotence=False,
            max_batch_size=ROUND_BYTES_MAX,
            max_request_size=16 * ROUND_BYTES_MAX,
            request_timeout_ms=int(self._deadline_s * 1000),
            retry_backoff_ms=50,
            metadata_max_age_ms=60_000,
            **self._connection.arguments(),
        )
        try:
            await producer.start()
        except (KafkaError, OSError) as error:
            await producer.stop()
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
            else:
                _log.info("kafka_connected")
                return
            await asyncio.sleep(RECONNECT_S)
            attempt = self._connect()

    async def _probe(self, producer: AIOKafkaProducer) -> None:
        """Ask the brokers until they answer: they may take records again, which only a round can show for certain."""
        while self._reason:
            await asyncio.sleep(RECONNECT_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._deadline_s):
                    if await producer.client.force_metadata_update():
                        self._reason = ""

    def _open(self) -> _Round:
        self._filling = _Round(self._loop, self._deadline_s, self._due, self._late)
        return self._filling

    def _due(self, round_: _Round) -> None:
        """Let a round leave, or go on filling for a while where another is under way."""
        if self._commits is None or self._commits.done() or round_.is_due:
            self._seal()
        else:
            round_.is_due = True
            round_.linger = self._loop.call_later(FILL_S - LINGER_S, self._due, round_)

    def _late(self, round_: _Round) -> None:
        self._failed("Kafka did not acknowledge in time")
        if round_ is self._filling:
            self._seal()

    def _failed(self, reason: str) -> None:
        """Be unhealthy until a round is acknowledged, or the brokers answer again."""
        self._reason = reason
        if not self._closed and self._producer is not None and (self._probes is None or self._probes.done()):
            self._probes = self._loop.create_task(self._probe(self._producer))

    def _batches(self, round_: _Round, topic: Topic) -> list[Any]:
        assert self._producer is not None
        batches = [self._producer.create_batch() for _ in range(self._partitions[topic])]
        round_.batches[topic] = batches
        return batches

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
        """Send one round after another until none waits. One that has expired is not sent: it was refused already."""
        while self._sealed or (self._filling is not None and self._filling.is_due):
            if not self._sealed:
                self._seal()
            self._flying = round_ = self._sealed.popleft()
            if not round_.expired:
                round_.settle(stored=await self._commit(round_))
            self._flying = None

    async def _commit(self, round_: _Round) -> bool:
        assert self._producer is not None
        try:
            acknowledgements = [
                await self._producer.send_batch(batch, self._plan.name(topic), partition=partition)
                for topic, batches in round_.batches.items()
                for partition, batch in enumerate(batches)
                if batch.record_count()
            ]
            results = await asyncio.gather(*acknowledgements, return_exceptions=True)
        except (KafkaError, OSError) as error:
            results = [error]
        failures = [result for result in results if isinstance(result, BaseException)]
        if failures:
            self._failed(f"Kafka did not acknowledge: {type(failures[0]).__name__}")
        else:
            self._reason = ""
        self.rounds_total += 1
        self.failures_total += bool(failures)
        return not failures
