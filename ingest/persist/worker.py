"""The persisting process at work: a loop for each topic, and now and then a line that tells how far it is."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, NamedTuple

import structlog

from ingest.clock import Clock
from ingest.consume.loop import Loop
from ingest.persist.writer import Written
from ingest.transport.contract import Source, Topic, Unavailable

PROGRESS_S: Final = 60.0
START_PAUSE_S: Final = 1.0

_log = structlog.get_logger(__name__)


class Lane(NamedTuple):
    """One topic on its way: where it is read, and what is done with it."""

    topic: Topic
    source: Source
    loop: Loop


class PersistWorker:
    """Runs all lanes until `stop`.

    `first` is caught up before the others begin, so that they know who is erased; `erase` runs beside them until it is
    cancelled. `written` tells what became of events since the start.
    """

    def __init__(
        self,
        first: Lane | None,
        lanes: Sequence[Lane],
        erase: Callable[[], Coroutine[Any, Any, None]],
        written: Callable[[], Written],
        clock: Clock,
    ) -> None:
        self._first = first
        self._lanes = lanes
        self._erase = erase
        self._written = written
        self._clock = clock
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End after the records at hand."""
        self._stopping.set()
        for lane in self._all():
            lane.loop.stop()

    async def run(self) -> None:
        """Persist until `stop`. Raises `Brake`."""
        _log.info("started")
        beside = [asyncio.create_task(work) for work in (self._tell(), self._erase())]
        try:
            await self._run_lanes()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            self._progress()
            _log.info("stopped")

    async def _run_lanes(self) -> None:
        running: list[asyncio.Task[None]] = []
        try:
            if self._first is not None:
                running.append(asyncio.create_task(self._run(self._first)))
                await _first_of(running[0], self._first.loop.caught_up.wait())
            running += [asyncio.create_task(self._run(lane)) for lane in self._lanes]
            await asyncio.gather(*running)
        finally:
            self.stop()
            await asyncio.gather(*running, return_exceptions=True)

    async def _run(self, lane: Lane) -> None:
        if await self._begin(lane):
            try:
                await lane.loop.run()
            finally:
                await lane.source.close()

    async def _begin(self, lane: Lane) -> bool:
        """Start a source as soon as it can be read; False where the end came first."""
        told = False
        while not self._stopping.is_set():
            try:
                await lane.source.start()
            except Unavailable as error:
                if not told:
                    _log.warning("consumer_waits", error=error, topic=lane.topic.value)
                told = True
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(START_PAUSE_S):
                        await self._stopping.wait()
            else:
                return True
        return False

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_S)
            self._progress()

    def _progress(self) -> None:
        written, now_ms = self._written(), self._clock.now_ms()
        _log.info(
            "persist_progress",
            records=sum(lane.loop.done for lane in self._all()),
            inserted=written.inserted,
            repeated=written.repeated,
            erased=written.erased,
            age_ms=max((now_ms - (lane.loop.working_at_ms or now_ms) for lane in self._all()), default=0),
            set_aside=sum(lane.loop.poisoned for lane in self._all()),
        )

    def _all(self) -> Sequence[Lane]:
        return [*([] if self._first is None else [self._first]), *self._lanes]


async def _first_of(task: asyncio.Task[None], other: Awaitable[object]) -> None:
    """Wait until either has ended; an error of the task is raised here."""
    waiting = asyncio.ensure_future(other)
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    if task.done():
        task.result()
