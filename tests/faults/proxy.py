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
        self._thread = threading.Thread(target=self._run, name="slow-proxy", daemon=True)
        self._thread.start()
        self._started.wait(10)

    def close(self) -> None:
        """End all connections and stop listening."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(asyncio.start_server(self._serve, HOST, self.port))
        self._started.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.05))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream, downstream = await asyncio.open_connection(HOST, self._target)
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(self._pass(reader, downstream), self._pass(upstream, writer), return_exceptions=True)

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while piece := await source.read(_CHUNK_BYTES):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                target.write(piece)
                await target.drain()
        finally:
            target.transport.abort()
