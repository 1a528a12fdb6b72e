"""Lets go of what is old, now and then, beside the loop that writes rows."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

import structlog

from ingest.clock import Clock
from ingest.control.retention import Purged, purge
from ingest.db.database import Database, DatabaseAway
from ingest.persist.actor import ACTOR

_log = structlog.get_logger(__name__)


class Pace(NamedTuple):
    """Seconds before the first run, between runs, and before another try where the database is away.

    Each is lengthened by up to a tenth, so that several processes do not run at the same moment.
    """

    first_s: float = 60.0
    every_s: float = 21_600.0
    away_s: float = 60.0


class RetentionSchedule:
    """Runs the retention of `ingest retention run` at its pace for as long as the block `at_work` lasts."""

    def __init__(
        self,
        database: Database,
        events_days: int,
        clock: Clock,
        *,
        pace: Pace | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._events_days = events_days
        self._clock = clock
        self._pace = pace or Pace()
        self._jitter = jitter

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Run in the background; the end of the block breaks off a run, which is safe at any point of it."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def _run(self) -> None:
        pause_s = self._pace.first_s
        is_away = False
        while True:
            await asyncio.sleep(pause_s * (1 + self._jitter() / 10))
            pause_s = self._pace.every_s
            try:
                await self._purge()
            except DatabaseAway as error:
                if not is_away:
                    _log.warning("retention_waits", error=error)
                is_away, pause_s = True, self._pace.away_s
            except Exception as error:  # noqa: BLE001 - rows go on to be written, whatever this ran into
                _log.error("retention_failed", error=error)
            else:
                is_away = False

    async def _purge(self) -> None:
        began_ms = self._clock.monotonic_ms()
        purged: Purged | None = await purge(self._database, self._events_days, ACTOR)
        if purged is None:
            _log.info("retention_under_way")
            return
        _log.info(
            "retention_done",
            dropped=purged.days,
            deleted=purged.rows,
            put_off=purged.put_off,
            duration_ms=self._clock.monotonic_ms() - began_ms,
        )
