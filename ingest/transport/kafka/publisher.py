"""Publish to Kafka with `acks=all`, by group commit: requests that arrive together leave together.

A round is one batch per partition and one answer for all requests in it. It leaves `LINGER_S` after its first record,
or when a batch is full, and never while another is in flight, so that the next one fills meanwhile. Measured: one
produce request costs some hundred microseconds whatever its size, and a future per record doubles the cost of an
event; so requests share the first and wait for one future each.

aiokafka's own idempotence stays off: with it a batch that meets a silent broker never expires and is delivered late,
and `stop()` hangs. Without it a batch fails at its deadline and the producer works on. Consumers drop repeats by the
identity of an event either way.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
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
RECORD_BYTES_MAX: Final = 1_000_000
RECONNECT_S: Final = 1.0
_HEADERS: Final = list(SCHEMA)

_log = structlog.get_logger(__name__)


class _Round:
    """What leaves together: batches by topic and partition, and the requests that wait for all of them."""

    __slots__ = ("batches", "began", "deadline", "expired", "linger", "waiters")

    def __init__(self, loop: asyncio.AbstractEventLoop, deadline_s: float, seal: Callable[[], None]) -> None:
        self.batches: dict[Topic, list[Any]] = {}
        self.waiters: list[asyncio.Future[bool]] = []
        self.began = time.monotonic()
        self.expired = False
        self.linger = loop.call_later(LINGER_S, seal)
        self.deadline = loop.call_later(deadline_s, self._expire)

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
        self._closed = False
        self.rounds_total = 0
        self.failures_total = 0

    async def start(self) -> None:
        """See `Publisher.start`."""
        self._loop = asyncio.get_running_loop()
        try:
            await self._connect()
        except Unavailable as error:
            self._reason = str(error)
            self._connects = self._loop.create_task(self._keep_connecting())

    async def publish(self, topic: Topic, records: Sequence[Record], timestamp_ms: int) -> Stored:
        """See `Publisher.publish`; the partition is the CRC-32 of the key modulo their number."""
        if self._producer is None or self._closed:
            raise Unavailable(self._reason)
        partitions = self._partitions[topic]
        round_ = self._filling or self._open()
        batches = round_.batches.get(topic) or self._batches(round_, topic)
        waiters = []
        for key, value in records:
            number = crc32(key) % partitions
            if batches[number].append(timestamp=timestamp_ms, key=key, value=value, headers=_HEADERS) is None:
                waiters.append(self._wait(round_))
                self._seal()
                round_ = self._open()
                batches = self._batches(round_, topic)
                if batches[number].append(timestamp=timestamp_ms, key=key, value=value, headers=_HEADERS) is None:
                    raise RecordTooLarge
        waiters.append(self._wait(round_))
        stored = True
        for waiter in waiters:
            stored &= await waiter
        if not stored:
            raise Unavailable(self._reason or "Kafka did not acknowledge in time")
        return Stored.REPLICATED

    def health(self) -> Health:
        """See `Publisher.health`."""
        rounds = [round_ for round_ in (self._flying, *self._sealed, self._filling) if round_ is not None]
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
            self._connects.cancel()
        if self._filling is not None:
            self._seal()
        if self._commits is not None:
            await asyncio.wait([self._commits], timeout=self._deadline_s)
            self._commits.cancel()
        if self._producer is not None:
            stopping = self._loop.create_task(self._producer.stop())
            await asyncio.wait([stopping], timeout=self._deadline_s)
            stopping.cancel()

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

    async def _keep_connecting(self) -> None:
        while True:
            await asyncio.sleep(RECONNECT_S)
            try:
                await self._connect()
            except (Unavailable, ConfigurationError) as error:
                self._reason = str(error)
            else:
                _log.info("kafka_connected")
                return

    def _open(self) -> _Round:
        self._filling = _Round(self._loop, self._deadline_s, self._seal)
        return self._filling

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
        while self._sealed:
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
        self._reason = f"Kafka did not acknowledge: {type(failures[0]).__name__}" if failures else ""
        self.rounds_total += 1
        self.failures_total += bool(failures)
        return not failures
