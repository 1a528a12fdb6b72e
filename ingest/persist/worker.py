"""The persisting process at work: a loop for each topic, and now and then a line that tells how far it is."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog

from ingest.clock import Clock
from ingest.consume.beside import run_beside
from ingest.consume.figures import lane_samples
from ingest.consume.lanes import Lanes
from ingest.persist.figures import row_samples
from ingest.persist.writer import Written
from ingest.telemetry.snapshot import Sample

PROGRESS_S: Final = 60.0

_log = structlog.get_logger(__name__)


class PersistWorker:
    """Runs all lanes until `stop`.

    The first is that of the erasures, so that the others know who is erased; `erase` runs beside them until it is
    cancelled. `written` tells what became of events since the start.
    """

    def __init__(
        self,
        lanes: Lanes,
        erase: Callable[[], Coroutine[Any, Any, None]],
        written: Callable[[], Written],
        clock: Clock,
    ) -> None:
        self._lanes = lanes
        self._erase = erase
        self._written = written
        self._clock = clock

    def stop(self) -> None:
        """End after the records at hand."""
        self._lanes.stop()

    def reasons(self) -> list[str]:
        """Tell why no record becomes a row now; nothing where they do."""
        return self._lanes.reasons()

    def samples(self) -> list[Sample]:
        """Return the figures of this moment."""
        return [*lane_samples(self._lanes, self._clock), *row_samples(self._written())]

    async def run(self) -> None:
        """Persist until `stop`. Raises `Brake`."""
        _log.info("started")
        try:
            await run_beside(self._lanes, (self._tell, self._erase))
        finally:
            self._progress()
            _log.info("stopped")

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_S)
            self._progress()

    def _progress(self) -> None:
        written, now_ms = self._written(), self._clock.now_ms()
        _log.info(
            "persist_progress",
            records=sum(lane.loop.done for lane in self._lanes),
            inserted=written.inserted,
            repeated=written.repeated,
            erased=written.erased,
            age_ms=max((now_ms - (lane.loop.working_at_ms or now_ms) for lane in self._lanes), default=0),
            set_aside=sum(lane.loop.poisoned for lane in self._lanes),
        )
