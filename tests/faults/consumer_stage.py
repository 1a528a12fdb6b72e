"""What scenes of consumers are played with: their processes over a database, and what has become of each event."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple
from uuid import uuid4

import psycopg
from psycopg import sql

from devservices.postgres import PostgresServer
from tests.faults.group import Group
from tests.faults.programs import Programs
from tests.faults.stage import Scene, Stage

CAUGHT_UP_S: Final = 90.0
"""Longest wait until what was acknowledged has been consumed, or a group has come together."""

_TICK_S: Final = 0.1


class DatabaseStage(NamedTuple):
    """The brokers and the database, shared by all scenes of consumers."""

    stage: Stage
    postgres: PostgresServer


@contextmanager
def with_database(stage: Stage) -> Iterator[DatabaseStage]:
    """Run the database beside what all scenes share."""
    with PostgresServer(stage.folder / "postgres") as postgres:
        yield DatabaseStage(stage, postgres)


class ConsumerScene(ABC):
    """An edge under load, consumers of what it stores, and the moments of what was done to them.

    What an event is to become, and what it has become, is told by texts that name it.
    """

    def __init__(
        self, scene: Scene, postgres: PostgresServer, owner_dsn: str, consumers: Programs, group: Group
    ) -> None:
        self.scene = scene
        self.postgres = postgres
        self.owner_dsn = owner_dsn
        self.consumers = consumers
        self.group = group
        self.behind = 0
        """How much was acknowledged and not consumed yet, at the mending."""

    @abstractmethod
    def expected(self) -> frozenset[str]:
        """Return what must come of all that was acknowledged by now."""

    @abstractmethod
    async def stored(self) -> list[str]:
        """Return what has come of events by now."""

    async def mends(self) -> None:
        """Note that all is whole again, and how much there is to catch up with."""
        self.scene.mends()
        self.behind = len(await self.missing())

    async def killed(self, number: int) -> None:
        """Kill a consumer as a crash would."""
        await self.consumers.kill(number)

    async def grow(self, more: int) -> None:
        """Wait until so much has come to what is there."""
        wanted = len(await self.stored()) + more

        async def holds() -> bool:
            return len(await self.stored()) >= wanted

        await self.until(holds, f"{more} more")

    async def recover(self) -> None:
        """Wait until what had been acknowledged when this began has been consumed."""
        expected = self.expected()

        async def holds() -> bool:
            return expected.issubset(await self.stored())

        await self.until(holds, "consumers catch up")
        self.scene.recovered_s = time.monotonic()

    async def complete(self) -> None:
        """Wait until nothing acknowledged is missing, or for too long."""

        async def holds() -> bool:
            return not await self.missing()

        await within(holds)

    async def members(self, count: int, *, without: frozenset[str] = frozenset()) -> frozenset[str]:
        """Wait until the group is `count` members, and none of those in `without`; return their ids."""
        found: frozenset[str] = frozenset()

        async def holds() -> bool:
            nonlocal found
            found = await self.group.members()
            return len(found) == count and not found & without

        await self.until(holds, f"a group of {count}")
        return found

    async def until(self, holds: Callable[[], Awaitable[bool]], what: str) -> None:
        """Wait until it holds; fails when it does not in time."""
        assert await within(holds), f"{self.scene.name}: not within {CAUGHT_UP_S} s: {what}"

    async def missing(self) -> frozenset[str]:
        """Return what was acknowledged and has not been consumed."""
        return self.expected().difference(await self.stored())


async def within(holds: Callable[[], Awaitable[bool]]) -> bool:
    """Ask until it holds, or for too long; tell which."""
    deadline = time.monotonic() + CAUGHT_UP_S
    while not await holds():
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(_TICK_S)
    return True


async def make_login(owner_dsn: str, role: str) -> tuple[str, str]:
    """Make a login that has the rights of one role alone; return its name and password."""
    name, word = f"{role}_{uuid4().hex[:8]}", uuid4().hex
    statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE {}")

    def make() -> None:
        with psycopg.connect(owner_dsn, autocommit=True) as connection:
            connection.execute(statement.format(sql.Identifier(name), sql.Literal(word), sql.Identifier(role)))

    await asyncio.to_thread(make)
    return name, word
