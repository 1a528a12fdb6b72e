"""Read a topic from Kafka as a consumer group, or without one from its beginning."""

from collections.abc import Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from ingest.transport.contract import Delivered, Topic, Unavailable
from ingest.transport.kafka.connection import Connection
from ingest.transport.kafka.topics import topic_exists

METADATA_AGE_MS: Final = 5_000
"""A group that comes together while a topic is being made may see none of its partitions; it looks again after this."""


class KafkaSource:
    """A `Source` over one aiokafka consumer; with `group` None nothing is committed. `oldest` says where it begins."""

    def __init__(
        self, connection: Connection, name: str, topic: Topic, *, group: str | None, oldest: bool = True
    ) -> None:
        self._connection = connection
        self._name = name
        self._topic = topic
        self._group = group
        self._oldest = oldest
        self._consumer: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        """See `Source.start`; may be tried again.

        Raises `Unavailable` where the brokers do not answer or do not have the topic.
        """
        consumer = AIOKafkaConsumer(
            self._name,
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest" if self._oldest else "latest",
            metadata_max_age_ms=METADATA_AGE_MS,
            **self._connection.arguments(),
        )
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

    async def poll(self, records_max: int, wait_ms: int) -> Sequence[Delivered]:
        """See `Source.poll`."""
        assert self._consumer is not None
        try:
            found = await self._consumer.getmany(timeout_ms=wait_ms, max_records=records_max)
        except KafkaError as error:
            raise Unavailable(f"Kafka does not answer: {type(error).__name__}") from error
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
        """See `Source.commit`. Raises `Unavailable` where the brokers do not take it, as in a rebalance."""
        assert self._consumer is not None
        if self._group is None:
            return
        try:
            await self._consumer.commit()
        except KafkaError as error:
            raise Unavailable(f"the position was not kept: {type(error).__name__}") from error

    async def close(self) -> None:
        """See `Source.close`."""
        if self._consumer is not None:
            await self._consumer.stop()
