"""The topic that the service writes to, seen from outside: how far it has grown, and what a record holds."""

import asyncio
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Self

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

PARTITIONS: Final = 4
READ_TIMEOUT_S: Final = 10.0

# A run writes gigabytes that nobody reads. What Kafka deletes keeps its offsets, by which the growth is counted.
_CONFIGS: Final = {"segment.bytes": str(64 * 2**20), "retention.bytes": str(256 * 2**20), "min.insync.replicas": "1"}


class EventsTopic:
    """A topic of this name on a single broker, made on entry. Calls block; one thread makes them all."""

    def __init__(self, bootstrap: str, name: str) -> None:
        self._bootstrap = bootstrap
        self._name = name
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._consumer: Any = None

    def __enter__(self) -> Self:
        self._runner.run(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._runner:
            self._runner.run(self._stack.aclose())

    def records(self) -> int:
        """Return how many records were ever written, by the end offsets of all partitions."""
        return sum(self._runner.run(self._ends()).values())

    def read_first(self, count: int) -> list[dict[str, Any]]:
        """Return the first `count` records' values. Raises `TimeoutError` where there are fewer."""
        return self._runner.run(asyncio.wait_for(self._read_first(count), READ_TIMEOUT_S))

    async def _open(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(self._name, PARTITIONS, 1, topic_configs=_CONFIGS)])
        finally:
            await admin.close()
        consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap, enable_auto_commit=False)
        self._consumer = await self._stack.enter_async_context(consumer)
        self._consumer.assign(self._partitions())

    def _partitions(self) -> list[Any]:
        return [TopicPartition(self._name, number) for number in range(PARTITIONS)]

    async def _ends(self) -> dict[Any, int]:
        ends: dict[Any, int] = await self._consumer.end_offsets(self._partitions())
        return ends

    async def _read_first(self, count: int) -> list[dict[str, Any]]:
        await self._consumer.seek_to_beginning()
        values = [msgspec.json.decode((await self._consumer.getone()).value) for _ in range(count)]
        self._consumer.pause(*self._partitions())  # from here on only offsets are asked for
        return values
