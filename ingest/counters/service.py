"""What goes on in a serving process for the sake of the counters, begun and ended with it."""

import asyncio
from typing import Protocol

from ingest.counters.cache import Cache
from ingest.counters.event_rate import SharedEventRate


class CounterFigures(Protocol):
    """Where an operator is told of the counters."""

    counters_local: int
    cache_failures: int


class CountersService:
    """Keeps the event rates of this process and of the others in step, as long as it lives."""

    def __init__(self, cache: Cache, event_rate: SharedEventRate) -> None:
        self._cache = cache
        self._event_rate = event_rate
        self._exchanging: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin; nothing is waited for."""
        self._exchanging = asyncio.create_task(self._event_rate.run())

    async def close(self) -> None:
        """End, and close the connections."""
        if self._exchanging is not None:
            self._exchanging.cancel()
        await self._cache.close()

    def sample(self, figures: CounterFigures) -> None:
        """Tell whether this process counts by itself because Valkey is away, and how often that did not answer."""
        figures.counters_local = int(self._cache.away)
        figures.cache_failures = self._cache.failures_total
