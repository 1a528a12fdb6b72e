"""The registry from PostgreSQL: told of changes, looked at every second besides, and kept on disk for the next start.

While the database is away the last good snapshot stays in use, marked incomplete: an app that it does not know may be
new, and is asked to come again instead of being refused.
"""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, LiteralString

import psycopg
import structlog

from ingest.clock import Clock
from ingest.db.database import DEADLINE_MS, Connection, connection_arguments
from ingest.db.queries.registry import CHANNEL, registry_document, registry_version
from ingest.registry.document import read_document
from ingest.registry.snapshot import RegistryError, Snapshot

POLL_S: Final = 1.0
"""Longest wait between two looks at the database; a change is in use within twice that, notified or not."""

_CLOSE_S: Final = 0.5
_LISTEN: Final[LiteralString] = f"LISTEN {CHANNEL}"
_AWAY: Final = "the database cannot be read; the last good registry is in use"
_NEVER: Final = "the database has never been read, and there is no copy on disk: no app is known"

_log = structlog.get_logger(__name__)


class DatabaseRegistry:
    """Keeps the registry of one serving process current; several may share one `copy` on disk."""

    def __init__(self, dsn: str, copy: Path, clock: Clock, on_change: Callable[[Snapshot, Snapshot], None]) -> None:
        self._dsn = dsn
        self._copy = copy
        self._clock = clock
        self._on_change = on_change
        self._snapshot = Snapshot(complete=False)
        self._faults: tuple[str, ...] = ()
        self._away = _NEVER
        self._version = -1
        self._looked_at = 0
        self._following: asyncio.Task[None] | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Load from the database, else from the copy on disk, else begin without any app."""
        first = asyncio.Event()
        self._following = asyncio.create_task(self._follow(first))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DEADLINE_MS / 1000):
                await first.wait()
        if not self._snapshot.complete:
            await self._load_copy()

    def current(self) -> Snapshot:
        """Return the last good snapshot; never waits."""
        return self._snapshot

    def problems(self) -> tuple[str, ...]:
        """Tell an operator what is wrong now."""
        return (*((self._away,) if self._away else ()), *self._faults)

    async def close(self) -> None:
        """Stop following the database."""
        if self._following is not None:
            self._following.cancel()
        for task in self._connections:
            task.cancel()
        if waiting := {*self._connections, *filter(None, (self._following,))}:
            await asyncio.wait(waiting, timeout=_CLOSE_S)

    async def _follow(self, first: asyncio.Event) -> None:
        """Follow one connection after the other, for ever, giving up each that does not answer in time."""
        while True:
            self._looked_at = self._clock.monotonic_ms()
            following = asyncio.create_task(self._follow_connection(first))
            self._connections.add(following)
            following.add_done_callback(self._ended)
            late = False
            while not following.done() and not late:
                await asyncio.wait({following}, timeout=POLL_S / 2)
                late = self._clock.monotonic_ms() - self._looked_at > DEADLINE_MS
            following.cancel()  # the driver may take long to end it, so it is not waited for
            if late:
                self._mark_away()
            first.set()
            await asyncio.sleep(POLL_S / 2)

    async def _follow_connection(self, first: asyncio.Event) -> None:
        connection = await psycopg.AsyncConnection.connect(
            self._dsn, **connection_arguments(self._dsn, "ingest-registry")
        )
        self._version = -1  # a server that took over may count otherwise than the one before
        try:
            await connection.execute(_LISTEN)
            while True:
                await self._look(connection)
                first.set()
                async for _ in connection.notifies(timeout=POLL_S, stop_after=1):
                    pass
        finally:
            await connection.close()

    def _ended(self, following: "asyncio.Task[None]") -> None:
        self._connections.discard(following)
        if following.cancelled():
            return
        error = following.exception()
        if isinstance(error, psycopg.Error | OSError | RegistryError):
            self._mark_away()
        elif error is not None:
            _log.error("bug", error=error)
            self._mark_away()

    async def _look(self, connection: Connection) -> None:
        """Load the registry where it differs from what is in use."""
        version = await registry_version(connection)
        if version != self._version:
            content = await registry_document(connection)
            reading = await asyncio.to_thread(read_document, content, self._clock.now_ms(), complete=True)
            self._faults = reading.problems
            self._swap(reading.snapshot)
            self._version = version
            await asyncio.to_thread(self._write_copy, content)
        if self._away:
            _log.info("registry_database_answers")
            self._away = ""
        if not self._snapshot.complete:
            self._swap(replace(self._snapshot, complete=True))
        self._looked_at = self._clock.monotonic_ms()

    def _swap(self, snapshot: Snapshot) -> None:
        old, self._snapshot = self._snapshot, snapshot
        self._on_change(old, snapshot)

    def _mark_away(self) -> None:
        if self._away:
            return
        self._away = _AWAY
        _log.warning("registry_database_away")
        self._swap(replace(self._snapshot, complete=False))

    async def _load_copy(self) -> None:
        """Begin with what an earlier process, or another one, has kept."""
        try:
            content = await asyncio.to_thread(self._copy.read_bytes)
            reading = await asyncio.to_thread(read_document, content, self._clock.now_ms(), complete=False)
        except (OSError, RegistryError) as error:
            _log.error("registry_copy_unreadable", error=error, file=self._copy.name)
            return
        if self._snapshot.complete:  # the database has answered in the meantime
            return
        self._faults, self._away = reading.problems, _AWAY
        self._swap(reading.snapshot)
        _log.warning("registry_copy_loaded", apps=len(reading.snapshot.apps), version=reading.snapshot.version)

    def _write_copy(self, content: bytes) -> None:
        """Replace the copy at once, so that it is whole whenever it is read."""
        new: Path | None = None
        try:
            descriptor, name = tempfile.mkstemp(prefix=f"{self._copy.name}.", dir=self._copy.parent)
            new = Path(name)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._copy)
        except OSError as error:
            _log.warning("registry_copy_failed", error=error, file=self._copy.name)
            if new is not None:
                with contextlib.suppress(OSError):
                    new.unlink()
