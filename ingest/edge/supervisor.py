"""Several workers on one port: started, watched, replaced when they die, and asked for their figures.

Workers are processes of their own that share the listening socket; the supervisor answers the admin port for all.
"""

import asyncio
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from ingest.edge.admin import admin
from ingest.edge.control import Report, ReportLine
from ingest.edge.server import admin_server
from ingest.telemetry.exposition import Tally, expose
from ingest.telemetry.metric import Process
from ingest.transport.contract import ConfigurationError

REPORT_TIMEOUT_S: Final = 1.0
POLL_S: Final = 1.0
EARLY_DEATH_S: Final = 10.0
RESTART_DELAY_S: Final = 1.0

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Child:
    """One worker process; `incarnation` is never used twice."""

    number: int
    incarnation: int
    process: asyncio.subprocess.Process
    line: ReportLine
    begun: float
    reasons: list[str]
    reported: bool = False


class Supervisor:
    """Keeps `workers` processes serving on `listener`, each stopped within `drain_ms`."""

    def __init__(
        self,
        workers: int,
        listener: socket.socket,
        admin_listener: socket.socket,
        *,
        drain_ms: int,
        openapi: Callable[[], bytes] | None = None,
    ) -> None:
        self._openapi = openapi
        self._workers = workers
        self._listener = listener
        self._admin_listener = admin_listener
        self._drain_s = drain_ms / 1000
        self._children: dict[int, _Child] = {}
        self._tally = Tally()
        self._incarnations = 0
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT. Raises `ConfigurationError` where a worker refuses its very first start."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        operators = admin_server(admin(self._readiness, self._exposition, self._openapi))
        answering = asyncio.create_task(operators.serve(sockets=[self._admin_listener]))
        polling = asyncio.create_task(self._poll())
        keeping = [asyncio.create_task(self._keep(number)) for number in range(self._workers)]
        waiting = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([waiting, *keeping], return_when=asyncio.FIRST_COMPLETED)
            self._stopping.set()
            await self._stop_children()
            results = await asyncio.gather(*keeping, return_exceptions=True)
        finally:
            polling.cancel()
            waiting.cancel()
            operators.should_exit = True
            await answering
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def _on_signal(self) -> None:
        """Stop at the first signal, and pass on every further one: it hurries the workers."""
        if self._stopping.is_set():
            self._signal_children()
        self._stopping.set()

    def _signal_children(self) -> None:
        for child in self._children.values():
            if child.process.returncode is None:
                child.process.send_signal(signal.SIGTERM)

    async def _keep(self, number: int) -> None:
        """Keep one worker running, replacing it whenever it ends by itself."""
        first = True
        while not self._stopping.is_set():
            child = await self._start(number)
            code = await child.process.wait()
            child.line.close()
            self._tally.end(child.incarnation)
            del self._children[number]
            if self._stopping.is_set():
                return
            if first and code == 1 and not child.reported:
                raise ConfigurationError("a worker refused to start; its own line above tells why")
            _log.error("worker_ended", worker=number, exit_code=code)
            first = False
            if time.monotonic() - child.begun < EARLY_DEATH_S:
                await asyncio.sleep(RESTART_DELAY_S)

    async def _start(self, number: int) -> _Child:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "ingest", "worker", "--number", str(number)),
                *("--listener", str(self._listener.fileno()), "--control", str(theirs.fileno())),
                pass_fds=(self._listener.fileno(), theirs.fileno()),
                start_new_session=True,  # a Ctrl-C reaches the supervisor alone, which stops its workers in order
            )
        line = ReportLine(*await asyncio.open_connection(sock=ours))
        self._incarnations += 1
        child = _Child(number, self._incarnations, process, line, time.monotonic(), ["the worker is starting"])
        self._tally.begin(child.incarnation)
        self._children[number] = child
        return child

    async def _stop_children(self) -> None:
        children = list(self._children.values())
        self._signal_children()
        waits = [asyncio.create_task(child.process.wait()) for child in children]
        if waits:
            await asyncio.wait(waits, timeout=self._drain_s)
        for child in children:
            if child.process.returncode is None:
                _log.error("worker_killed", worker=child.number)
                child.process.kill()

    async def _poll(self) -> None:
        """Ask now and then, so that little is lost of what a worker counted before it died."""
        while True:
            await self._ask_all()
            await asyncio.sleep(POLL_S)

    async def _ask_all(self) -> None:
        await asyncio.gather(*(self._ask(child) for child in list(self._children.values())))

    async def _ask(self, child: _Child) -> None:
        try:
            report: Report = await child.line.ask(REPORT_TIMEOUT_S)
        except (TimeoutError, EOFError, OSError):
            child.reasons = ["the worker does not answer"]
        else:
            child.reasons, child.reported = report.reasons, True
            self._tally.update(child.incarnation, report.figures)

    async def _readiness(self) -> list[str]:
        """Traffic may come while one worker takes it; a balancer sees one port."""
        if self._stopping.is_set():
            return ["the process is stopping"]
        await self._ask_all()
        states = [child.reasons for child in self._children.values()]
        if any(not reasons for reasons in states):
            return []
        return sorted({reason for reasons in states for reason in reasons}) or ["no worker is running"]

    async def _exposition(self) -> bytes:
        await self._ask_all()
        return expose(self._tally.present(), Process.EDGE)
