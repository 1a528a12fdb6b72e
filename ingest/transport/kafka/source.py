"""Read a topic from Kafka as a consumer group, or without one from its beginning."""

import asyncio
import contextlib
from collections.abc import Collection, Sequence
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from ingest.transport.contract import Delivered, Topic, Unavailable
from ingest.transport.kafka.connection import Connection
from ingest.transport.kafka.forget import Forgetter
from ingest.transport.kafka.topics import topic_exists

METADATA_AGE_MS: Final = 5_000
"""A group that comes together while a topic is being made may see none of its partitions; it looks again after this."""

COMMIT_S: Final = 5.0
"""Longest wait for a commit: the client itself would try until the brokers are back, and keep a stop waiting."""

FINISH_S: Final = 5.0
"""Longest wait for records at hand before partitions are given to others: the group waits for a member for 10 s."""

CLOSE_S: Final = 5.0
_POSITION_S: Final = 1.0

_log = structlog.get_logger(__name__)


class KafkaSource:
    """A `Source` over one aiokafka consumer; with `group` None nothing is committed. `oldest` says where it begins.

    With `delete_done` what the group has committed is deleted behind it, so that nobody can read it any more. With
    `finishes` partitions are given to others only once what was polled is committed, for as long as the group can wait.
    """

    def __init__(
        self,
        connection: Connection,
        name: str,
        topic: Topic,
        *,
        group: str | None,
        oldest: bool = True,
        delete_done: bool = False,
        finishes: bool = False,
    ) -> None:
        self._connection = connection
        self._name = name
        self._topic = topic
        self._group = group
        self._oldest = oldest
        self._delete_done = delete_done
        self._finishes = finishes
        self._at_rest = asyncio.Event()
        self._consumer: AIOKafkaConsumer | None = None
        self._forgetter: Forgetter | None = None
        self._ending: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """See `Source.start`; may be tried again.

        Raises `Unavailable` where the brokers do not answer or do not have the topic.
        """
        self._at_rest.set()
        consumer = AIOKafkaConsumer(
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest" if self._oldest else "latest",
            metadata_max_age_ms=METADATA_AGE_MS,
            **self._connection.arguments(),
        )
        consumer.subscribe([self._name], listener=_Finishing(self._at_rest) if self._finishes else None)
        try:
            found = await topic_exists(self._connection, self._name)
            if found:
                await consumer.start()
        except (KafkaError, OSError) as error:
            await consumer.stop()
            raise Unavailable(f"Kafka does not answer: {type(error).__name__}") from error
        if not found:
            await consumer.stop()
            raise Unavailable(f"there is no topic {self._name}")
        self._consumer = consumer
        if self._delete_done and self._group is not None and self._forgetter is None:
            self._forgetter = Forgetter(self._connection, self._name, self._topic, self._group)
            self._forgetter.start()

    async def poll(self, records_max: int, wait_ms: int) -> Sequence[Delivered]:
        """See `Source.poll`. A consumer of a group that failed is replaced: some never find back to their group."""
        if self._consumer is None:
            await self.start()
        assert self._consumer is not None
        self._at_rest.set()
        try:
            found = await self._consumer.getmany(timeout_ms=wait_ms, max_records=records_max)
        except KafkaError as error:
            if self._group is not None:
                await self._leave()
            raise Unavailable(f"Kafka does not answer: {type(error).__name__}") from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            await self._leave()
            raise Unavailable("the consumer's own work was cancelled") from error  # by itself, in a rebalance
        if found:
            self._at_rest.clear()
        return [
            Delivered(
                self._topic,
                place.partition,
                record.offset,
                record.timestamp,
                record.key or b"",
                record.value or b"",
                tuple(record.headers),
            )
            for place, records in found.items()
            for record in records
        ]

    async def commit(self) -> None:
        """See `Source.commit`. Raises `Unavailable` where the brokers do not answer.

        Only the next poll joins a group again that has gone on without this member, so that is no reason to wait here.
        """
        if self._group is None or self._consumer is None:
            return
        try:
            async with asyncio.timeout(COMMIT_S):
                await self._consumer.commit()
        except (CommitFailedError, IllegalStateError):
            self._at_rest.set()
            _log.info("position_passed_on")
        except (KafkaError, OSError, TimeoutError) as error:
            raise Unavailable(f"the position was not kept: {type(error).__name__}") from error
        else:
            self._at_rest.set()
            if self._forgetter is not None:
                self._forgetter.due()

    async def lag_records(self) -> int | None:
        """See `Source.lag_records`: of the partitions that it has, as the brokers told with what was last fetched."""
        if self._consumer is None:
            return None
        newest = {place: self._consumer.highwater(place) for place in self._consumer.assignment()}
        lag = 0
        try:
            async with asyncio.timeout(_POSITION_S):
                for place, end in newest.items():
                    if end is None:
                        return None
                    lag += max(0, end - await self._consumer.position(place))
        except (KafkaError, TimeoutError):
            return None
        return lag

    async def close(self) -> None:
        """See `Source.close`. Brokers that do not answer are left to themselves after `CLOSE_S`."""
        forgetter, self._forgetter = self._forgetter, None
        if forgetter is None:
            await self._leave()
        else:
            await asyncio.gather(self._leave(), forgetter.close())

    async def _leave(self) -> None:
        """End the consumer; a further poll begins with a new one."""
        if self._consumer is None:
            return
        self._at_rest.set()
        ending = asyncio.create_task(self._consumer.stop())
        self._consumer = None
        self._ending.add(ending)
        ending.add_done_callback(self._forget)
        await asyncio.wait({ending}, timeout=CLOSE_S)

    def _forget(self, ending: "asyncio.Task[None]") -> None:
        self._ending.discard(ending)
        if not ending.cancelled() and ending.exception() is not None:
            _log.debug("consumer_ended_badly", error=ending.exception())


class _Finishing(ConsumerRebalanceListener):  # type: ignore[misc]
    """Keeps partitions until nothing of them is at work, so that two members do not work on the same records."""

    def __init__(self, at_rest: asyncio.Event) -> None:
        self._at_rest = at_rest

    async def on_partitions_revoked(self, _: Collection[TopicPartition]) -> None:
        """Wait, as long as the group does not go on without this member."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FINISH_S):
                await self._at_rest.wait()

    async def on_partitions_assigned(self, _: Collection[TopicPartition]) -> None:
        """Do nothing."""
