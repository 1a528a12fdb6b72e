"""What scenes of rows are played with: persisting processes over a database, and what has become of each event."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple
from uuid import uuid4

import psycopg
from psycopg import sql

from devservices.postgres import PostgresServer
from ingest.db.migrate import migrate
from ingest.persist.writer import CONSUMER
from tests.faults.group import Group
from tests.faults.stage import Scene, Stage, playing
from tests.integration.edge import memory
from tests.support.program import Program
from tests.support.rows import ask

ROWS_S: Final = 90.0
"""Longest wait until what was acknowledged is a row, or a group has come together."""

_TICK_S: Final = 0.1


class Consumers:
    """The processes of `ingest persist` of one scene, numbered as they were started."""

    def __init__(self, settings: Mapping[str, str], folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._started = 0
        self._running: dict[int, Program] = {}
        self.peak_mib = 0.0
        """The most memory that one of them ever had."""

    async def start(self) -> int:
        """Start one more, and return its number."""
        number, self._started = self._started, self._started + 1
        folder = self._folder / f"persist-{number}"
        settings = {**self._settings, "INGEST_DATA_DIR": str(folder / "data")}
        self._running[number] = await asyncio.to_thread(lambda: Program("persist", settings=settings, folder=folder))
        return number

    async def stop(self, number: int) -> None:
        """Ask one to end, and check that it ends well."""
        self._note_memory()
        code = await asyncio.to_thread(self._running.pop(number).stop)
        assert code == 0, f"the consumer {number} ended with exit code {code}"

    async def kill(self, number: int) -> None:
        """Kill one as a crash would."""
        self._note_memory()
        await asyncio.to_thread(self._running.pop(number).kill)

    async def stop_all(self) -> None:
        """Ask all that run to end, and check that they end well."""
        for number in tuple(self._running):
            await self.stop(number)

    async def kill_all(self) -> None:
        """Kill what still runs."""
        for program in self._running.values():
            await asyncio.to_thread(program.kill)

    def _note_memory(self) -> None:
        for number, program in self._running.items():
            assert program.running, f"the consumer {number} ended by itself"
            self.peak_mib = max(self.peak_mib, memory(program.pid).peak_mib)


class RowScene:
    """An edge under load, consumers that make rows of it, and the moments of what was done to them."""

    def __init__(
        self, scene: Scene, postgres: PostgresServer, owner_dsn: str, consumers: Consumers, group: Group
    ) -> None:
        self.scene = scene
        self.postgres = postgres
        self.owner_dsn = owner_dsn
        self.consumers = consumers
        self.group = group
        self.behind = 0
        """Events that were acknowledged and no rows yet, at the mending."""

    async def mends(self) -> None:
        """Note that all is whole again, and how much there is to catch up with."""
        self.scene.mends()
        self.behind = len(await self._missing())

    async def stored(self) -> list[str]:
        """Return the event ids of all rows."""
        rows = await asyncio.to_thread(ask, self.owner_dsn, "SELECT event_id FROM events")
        return [row["event_id"] for row in rows]

    async def grow(self, more: int) -> None:
        """Wait until so many rows have come to those that are there."""
        wanted = len(await self.stored()) + more

        async def holds() -> bool:
            return len(await self.stored()) >= wanted

        assert await _within(holds), f"{self.scene.name}: no {more} more rows within {ROWS_S} s"

    async def recover(self) -> None:
        """Wait until all that has been acknowledged by now are rows."""
        acknowledged = frozenset(self.scene.load.acknowledged())

        async def holds() -> bool:
            return acknowledged.issubset(await self.stored())

        assert await _within(holds), f"{self.scene.name}: consumers do not catch up within {ROWS_S} s"
        self.scene.recovered_s = time.monotonic()

    async def complete(self) -> None:
        """Wait until nothing acknowledged is missing, or for too long."""

        async def holds() -> bool:
            return not await self._missing()

        await _within(holds)

    async def members(self, count: int, *, without: frozenset[str] = frozenset()) -> frozenset[str]:
        """Wait until the group is `count` members, and none of those in `without`; return their ids."""
        found: frozenset[str] = frozenset()

        async def holds() -> bool:
            nonlocal found
            found = await self.group.members()
            return len(found) == count and not found & without

        assert await _within(holds), f"{self.scene.name}: no group of {count} within {ROWS_S} s"
        return found

    async def _missing(self) -> frozenset[str]:
        return frozenset(self.scene.load.acknowledged()).difference(await self.stored())


class RowStage(NamedTuple):
    """The brokers and the database, shared by all scenes of rows."""

    stage: Stage
    postgres: PostgresServer


RowFault = Callable[[RowScene], Awaitable[None]]


@asynccontextmanager
async def persisting(stage: RowStage, name: str) -> AsyncIterator[RowScene]:
    """Start an edge with topics of its own, a database, and one consumer with the rights of one."""
    slug = name.replace(" ", "-")
    postgres, brokers = stage.postgres, stage.stage.cluster
    owner_dsn = await asyncio.to_thread(postgres.create_database, slug)
    await asyncio.to_thread(migrate, owner_dsn)
    topics = {"INGEST_TOPIC_PREFIX": f"{slug}."}
    async with (
        playing(stage.stage, name, settings=topics) as scene,
        Group(brokers.bootstrap, f"{slug}.{CONSUMER}") as group,
    ):
        settings = {
            **topics,
            "INGEST_KAFKA_BOOTSTRAP": brokers.bootstrap,
            "INGEST_SPOOL_KEY": scene.service.settings["INGEST_SPOOL_KEY"],
            "INGEST_POSTGRES_DSN": postgres.dsn(slug, *await asyncio.to_thread(_make_login, owner_dsn)),
        }
        consumers = Consumers(settings, stage.stage.folder / slug)
        try:
            await consumers.start()
            yield RowScene(scene, postgres, owner_dsn, consumers, group)
        finally:
            await consumers.kill_all()


def _make_login(owner_dsn: str) -> tuple[str, str]:
    """Make a login that has the rights of a consumer alone; return its name and password."""
    name, word = f"persist_{uuid4().hex[:8]}", uuid4().hex
    statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE ingest_persist")
    with psycopg.connect(owner_dsn, autocommit=True) as connection:
        connection.execute(statement.format(sql.Identifier(name), sql.Literal(word)))
    return name, word


async def _within(holds: Callable[[], Awaitable[bool]]) -> bool:
    """Ask until it holds, or for too long; tell which."""
    deadline = time.monotonic() + ROWS_S
    while not await holds():
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(_TICK_S)
    return True
