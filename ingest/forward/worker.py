"""The forwarding process at work: its lanes, what keeps them informed, and now and then a line that tells how far."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import structlog

from ingest.consume.beside import run_beside
from ingest.consume.lanes import Lanes
from ingest.db.database import DatabaseAway
from ingest.forward.outcome import Fate
from ingest.forward.reporter import Reporter

PROGRESS_S: Final = 60.0

_log = structlog.get_logger(__name__)


class ForwardWorker:
    """Runs all lanes until `stop`; `beside` runs with them until it is cancelled.

    `fates` tells how many conversions have ended how. Whatever ends by an error ends all of it: a process that looks
    alive and cannot do its work helps nobody.
    """

    def __init__(
        self,
        lanes: Lanes,
        reporter: Reporter,
        beside: Sequence[Callable[[], Awaitable[None]]],
        fates: Callable[[], Mapping[Fate, int]],
    ) -> None:
        self._lanes = lanes
        self._reporter = reporter
        self._beside = beside
        self._fates = fates

    def stop(self) -> None:
        """End after the records at hand."""
        self._lanes.stop()

    async def run(self) -> None:
        """Forward until `stop`. Raises `Brake`."""
        _log.info("started")
        try:
            await run_beside(self._lanes, (self._tell, self._reporter.run, *self._beside))
        finally:
            with contextlib.suppress(DatabaseAway):
                await self._reporter.report()
                await self._reporter.close()
            self._progress()
            _log.info("stopped")

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_S)
            self._progress()

    def _progress(self) -> None:
        fates = self._fates()
        _log.info(
            "forward_progress",
            records=sum(lane.loop.done for lane in self._lanes),
            sent=fates[Fate.SENT],
            skipped=fates[Fate.SKIPPED],
            refused=fates[Fate.REFUSED],
            expired=fates[Fate.EXPIRED],
            set_aside=sum(lane.loop.poisoned for lane in self._lanes),
        )
