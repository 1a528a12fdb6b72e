"""A TCP proxy before a broker that holds back what passes: a slow network."""

import asyncio
import threading
from typing import Final

from devservices.ports import HOST, free_ports

_CHUNK_BYTES: Final = 64 * 1024


class SlowProxy:
    """Listens on `port` and passes everything on to `target`, each piece `delay_s` later, in a thread of its own."""

    def __init__(self, target: int) -> None:
        self.delay_s = 0.0
        (self.port,) = free_ports(1)
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._ended = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._run, name="slow-proxy", daemon=True)
        self._thread.start()
        self._started.wait(10)

    def close(self) -> None:
        """End all connections and stop listening."""
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._listen())

    async def _listen(self) -> None:
        server = await asyncio.start_server(self._serve, HOST, self.port)
        async with server:
            self._started.set()
            await self._ended.wait()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)  # an aborted transport closes its socket in the loop's next turn

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            upstream, downstream = await asyncio.open_connection(HOST, self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(downstream)
        await asyncio.gather(self._pass(reader, downstream), self._pass(upstream, writer), return_exceptions=True)
        self._writers -= {writer, downstream}

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while piece := await source.read(_CHUNK_BYTES):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                target.write(piece)
                await target.drain()
        finally:
            target.transport.abort()
