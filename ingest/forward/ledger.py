"""Remembers what became of every conversion at every platform, so that none is sent after its answer was recorded."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from ingest.forward.job import Key
from ingest.forward.outcome import Outcome

Count = Callable[[Key, Outcome], None]


class Deliveries(Protocol):
    """Where ends are kept for good."""

    async def ended(self, keys: Collection[Key]) -> set[Key]:
        """Return those of `keys` whose end is kept. Raises `Away`."""

    async def keep(self, ends: Mapping[Key, Outcome]) -> None:
        """Keep ends; the first one of a key stays. Raises `Away`."""


class Ledger:
    """The ends that are kept, and those that could not be kept yet.

    `count` is told of each outcome once. What is answered while the database is away stays in memory, so that only the
    end of the process lets it be sent again.
    """

    def __init__(self, deliveries: Deliveries, count: Count) -> None:
        self._deliveries = deliveries
        self._count = count
        self._unwritten: dict[Key, Outcome] = {}
        self._under_way: set[Key] = set()
        self._writing = asyncio.Lock()

    async def record(self, keys: Iterable[Key], outcome: Outcome) -> None:
        """Write down how deliveries ended. Raises `Away`; then they are remembered, and written with the next call."""
        self.note(keys, outcome)
        await self.write()

    def note(self, keys: Iterable[Key], outcome: Outcome) -> None:
        """Remember how deliveries ended, to be written down with the next call of `write`."""
        for key in keys:
            self._unwritten[key] = outcome
            self._count(key, outcome)

    async def write(self) -> None:
        """Write down what is remembered; callers that come meanwhile share the next write. Raises `Away`."""
        async with self._writing:
            ended = dict(self._unwritten)
            if not ended:
                return
            await self._deliveries.keep(ended)
            for key in ended:
                del self._unwritten[key]

    async def open(self, keys: Collection[Key]) -> set[Key]:
        """Return those that have not ended and are not under way here. Raises `Away`."""
        await self.write()
        wanted = set(keys) - self._under_way
        if not wanted:
            return wanted
        ended = await self._deliveries.ended(wanted)
        return wanted - ended - self._under_way  # another lane may have begun one while the database was asked

    @contextmanager
    def under_way(self, keys: Collection[Key]) -> Iterator[None]:
        """Keep other lanes of this process from these deliveries."""
        self._under_way.update(keys)
        try:
            yield
        finally:
            self._under_way.difference_update(keys)
