"""An independent consumer that notes how often each event came to Kafka."""

import asyncio
import contextlib
import json
from collections import Counter
from typing import Final, Self

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

_POLL_MS: Final = 200
_RETRY_S: Final = 0.5
_LIFE_S: Final = 15.0
"""How long one consumer reads: among brokers that are hurt some never find back, and a new one always does."""


class Watch:
    """Reads `topic` from its beginning again and again, until it is closed, each record counted once."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self.seen: Counter[str] = Counter()
        self._places: set[tuple[int, int, int]] = set()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(KafkaError, OSError, AssertionError, LookupError, TimeoutError):
                async with asyncio.timeout(_LIFE_S):
                    await self._read()
            await asyncio.sleep(_RETRY_S)

    async def _read(self) -> None:
        consumer = AIOKafkaConsumer(
            self._topic,
            bootstrap_servers=self._bootstrap,
            auto_offset_reset="earliest",
            metadata_max_age_ms=2_000,
            request_timeout_ms=5_000,
        )
        try:
            await consumer.start()
            while True:
                for partition, records in (await consumer.getmany(timeout_ms=_POLL_MS)).items():
                    for record in records:
                        self._note(partition.partition, record.offset, record.timestamp, record.value)
        finally:
            with contextlib.suppress(Exception):
                await consumer.stop()

    def _note(self, partition: int, offset: int, timestamp: int, value: bytes) -> None:
        place = partition, offset, timestamp  # a consumer that begins again meets the same records again
        if place not in self._places:
            self._places.add(place)
            self.seen[json.loads(value)["meta"]["event_id"]] += 1
