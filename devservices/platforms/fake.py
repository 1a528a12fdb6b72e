"""Both fake platforms in this process, on a thread of their own, over real HTTP on 127.0.0.1."""

import asyncio
import socket
import threading
import time
from types import TracebackType
from typing import Self

import uvloop

from devservices.errors import DevServiceError, PortTaken, StartFailed
from devservices.platforms.access import Access
from devservices.platforms.app import App
from devservices.platforms.control import Control
from devservices.platforms.ledger import EVENTS_KEPT, Ledger
from devservices.platforms.meta import MetaTwin
from devservices.platforms.reception import Now, Reception
from devservices.platforms.script import Script
from devservices.platforms.serving import BACKLOG, serve
from devservices.platforms.tiktok import TikTokTwin
from devservices.ports import HOST, free_ports

_TIMEOUT_S = 20.0
_PORT_ATTEMPTS_MAX = 3


class FakePlatforms:
    """Meta's Conversions API and TikTok's Events API; a context manager.

    `script` says what is to be done with calls, `access` which tokens are known (any, until one is named), `ledger`
    what arrived. They outlive `close`: a second `start` has the same port and remembers. `now` is the platforms'
    clock, in seconds since 1970; every answer takes at least `latency_ms`.
    """

    def __init__(
        self, *, port: int | None = None, latency_ms: int = 0, events_kept: int = EVENTS_KEPT, now: Now = time.time
    ) -> None:
        self.script = Script()
        self.access = Access()
        self.ledger = Ledger(events_kept)
        self._port = port or None
        self._reception = Reception(self.script, self.access, self.ledger, now, latency_ms)
        self._control = Control(self.script, self.access, self.ledger)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._serving = threading.Event()

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1; StartFailed before the first start if none was fixed."""
        if self._port is None:
            raise StartFailed("the fake platforms were never started")
        return self._port

    @property
    def url(self) -> str:
        """The address of the page and of the control surface, without a slash at its end."""
        return f"http://{HOST}:{self.port}"

    @property
    def meta_url(self) -> str:
        """What stands for `https://graph.facebook.com`."""
        return self.url

    @property
    def tiktok_url(self) -> str:
        """What stands for `https://business-api.tiktok.com`."""
        return self.url

    def start(self) -> None:
        """Listen; PortTaken where another program has the port, StartFailed if they run already."""
        if self._thread is not None:
            raise StartFailed("the fake platforms run already")
        listener = self.listen()
        self._serving.clear()
        self._thread = threading.Thread(target=self._run, args=(listener,), name="fake-platforms", daemon=True)
        self._thread.start()
        if not self._serving.wait(_TIMEOUT_S):
            raise StartFailed(f"the fake platforms did not serve within {_TIMEOUT_S} s")

    def close(self) -> None:
        """Cut all connections and stop listening, as an outage does; does nothing if they do not run."""
        if self._thread is None:
            return
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_TIMEOUT_S)
        if self._thread.is_alive():
            raise DevServiceError(f"the fake platforms did not end within {_TIMEOUT_S} s")
        self._thread = None

    def listen(self) -> socket.socket:
        """Return a listening socket on the port; a new one where none was fixed."""
        for attempt in range(1, _PORT_ATTEMPTS_MAX + 1):
            port = free_ports(1)[0] if self._port is None else self._port
            try:
                listener = socket.create_server((HOST, port), backlog=BACKLOG)
            except OSError as error:
                why = error.strerror
                if self._port is not None or attempt == _PORT_ATTEMPTS_MAX:
                    raise PortTaken(f"the fake platforms cannot listen on {HOST}, port {port}: {why}") from error
            else:
                self._port = int(listener.getsockname()[1])
                return listener
        raise AssertionError("the loop returns or raises")

    async def serve(self, listener: socket.socket, stop: asyncio.Event) -> None:
        """Serve in this loop until `stop`; what `start` does on its thread."""
        await serve(App((MetaTwin(), TikTokTwin()), self._reception, self._control), listener, stop)

    def _run(self, listener: socket.socket) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve(listener))

    async def _serve(self, listener: socket.socket) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._serving.set()
        await self.serve(listener, self._stop)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
