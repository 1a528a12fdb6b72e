"""Several loops in one process: one topic each, begun as soon as it can be read, ended together."""

import asyncio
import contextlib
from collections.abc import Awaitable, Iterator, Sequence
from typing import Final, NamedTuple

import structlog

from ingest.consume.loop import Loop
from ingest.transport.contract import Source, Topic, Unavailable

START_PAUSE_S: Final = 1.0
LAG_S: Final = 2.0
"""Between two looks at how far the lanes lag."""

_log = structlog.get_logger(__name__)


class Lane(NamedTuple):
    """One topic on its way: where it is read, and what is done with it."""

    topic: Topic
    source: Source
    loop: Loop


class Lanes:
    """Runs lanes until `stop`. `first` is caught up before the others begin."""

    def __init__(self, lanes: Sequence[Lane], first: Lane | None = None, *, lag_s: float = LAG_S) -> None:
        self._first = first
        self._others = lanes
        self._stopping = asyncio.Event()
        self._lag_s = lag_s
        self._lags: dict[Topic, int] = {}

    def __iter__(self) -> Iterator[Lane]:
        return iter([*([] if self._first is None else [self._first]), *self._others])

    def stop(self) -> None:
        """End after the records at hand."""
        self._stopping.set()
        for lane in self:
            lane.loop.stop()

    def lag(self, topic: Topic) -> int | None:
        """Return how many records of a topic are still to be taken, as of the last look; None where nobody knows."""
        return self._lags.get(topic)

    def reasons(self) -> list[str]:
        """Tell why no record gets on now, in words for an operator; nothing where all lanes run."""
        told = [f"not read yet: {lane.topic}" for lane in self if not lane.loop.running]
        if self._stopping.is_set():
            told = ["the process is stopping"]
        return list(dict.fromkeys([*told, *filter(None, (lane.loop.reason for lane in self))]))

    async def run(self) -> None:
        """Consume until `stop`; the end of one lane ends all. Raises `Brake`."""
        running: list[asyncio.Task[None]] = []
        looking = asyncio.create_task(self._look())
        try:
            if self._first is not None:
                running.append(asyncio.create_task(self._run(self._first)))
                await _first_of(running[0], self._first.loop.caught_up.wait())
            running += [asyncio.create_task(self._run(lane)) for lane in self._others]
            await asyncio.gather(*running)
        finally:
            self.stop()
            looking.cancel()
            await asyncio.gather(looking, *running, return_exceptions=True)

    async def _look(self) -> None:
        while True:
            for lane in self:
                if lane.loop.running and (lag := await lane.source.lag_records()) is not None:
                    self._lags[lane.topic] = lag
            await asyncio.sleep(self._lag_s)

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


async def _first_of(task: asyncio.Task[None], other: Awaitable[object]) -> None:
    """Wait until either has ended; an error of the task is raised here."""
    waiting = asyncio.ensure_future(other)
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
    if task.done():
        task.result()
