"""The persisting process at work: the loop, and now and then a line that tells how far it is."""

import asyncio
import contextlib
from typing import Final

import structlog

from ingest.consume.loop import Loop
from ingest.persist.writer import EventWriter
from ingest.transport.contract import Source, Unavailable

PROGRESS_S: Final = 60.0
START_PAUSE_S: Final = 1.0

_log = structlog.get_logger(__name__)


class PersistWorker:
    """Runs the loop of one source until `stop`."""

    def __init__(self, source: Source, loop: Loop, writer: EventWriter) -> None:
        self._source = source
        self._loop = loop
        self._writer = writer
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End after the records at hand."""
        self._stopping.set()
        self._loop.stop()

    async def run(self) -> None:
        """Persist until `stop`. Raises `Brake`."""
        if not await self._begin():
            return
        _log.info("started")
        telling = asyncio.create_task(self._tell())
        try:
            await self._loop.run()
        finally:
            telling.cancel()
            self._progress()
            await self._source.close()
            _log.info("stopped")

    async def _begin(self) -> bool:
        """Start the source as soon as it can be read; False where the end came first."""
        told = False
        while not self._stopping.is_set():
            try:
                await self._source.start()
            except Unavailable as error:
                if not told:
                    _log.warning("consumer_waits", error=error)
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
        _log.info(
            "persist_progress",
            records=self._loop.done,
            inserted=self._writer.inserted,
            repeated=self._writer.repeated,
            set_aside=self._loop.poisoned,
        )
