"""What a development server of one program has in common with every other: its port, its log, its life."""

import abc
import signal
import time
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from devservices.child import Child
from devservices.errors import PortTaken, StartFailed
from devservices.freeze import Freeze, kill_all
from devservices.ports import HOST, free_ports

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 10
_PORT_ATTEMPTS_MAX = 3
_READY_TICK_S = 0.02


class Server(abc.ABC):
    """One server over `folder`, which is created and never removed; it holds `server.log` (the last: `server.log.1`).

    A fixed `port` is used at every start; without it each `start` takes a free one, which pause, kill and restart keep.
    `start` raises ProgramMissing, StartFailed or PortTaken. Nothing outlives `stop`, this interpreter, or (on Linux)
    this process, however it dies.
    """

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    error_marks: ClassVar[tuple[str, ...]] = ()

    def __init__(self, folder: Path, port: int | None) -> None:
        self.folder = folder.absolute()
        self._log_path = self.folder / "server.log"
        self._fixed_port = port
        self._port = port
        self._child: Child | None = None
        self._freeze: Freeze | None = None

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1; StartFailed before the first start if none was fixed."""
        if self._port is None:
            raise StartFailed(f"{self.name} was never started")
        return self._port

    @property
    def pid(self) -> int | None:
        """The process id while the server runs, also while it is paused."""
        return self._child.pid if self._child is not None and self._child.running else None

    def start(self) -> None:
        """Start the server and wait until it answers."""
        if self.pid is not None:
            raise StartFailed(f"{self.name} runs already")
        self.folder.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, _PORT_ATTEMPTS_MAX + 1):
            self._port = self._fixed_port if self._fixed_port is not None else free_ports(1)[0]
            try:
                self._prepare()
                self._run()
            except BaseException as error:  # an interrupt too must leave no process behind
                self.kill()
                self._clean()
                if not isinstance(error, PortTaken) or self._fixed_port is not None or attempt == _PORT_ATTEMPTS_MAX:
                    raise
            else:
                return

    def stop(self) -> None:
        """Shut the server down, paused or not, and kill it if it has not ended after 10 s; does nothing if it has."""
        self._end()
        self._clean()

    def pause(self) -> None:
        """Freeze all processes of the server: connections stay open, new ones are taken, nobody answers."""
        if self._freeze is None:
            self._freeze = Freeze(self._started())

    def resume(self) -> None:
        """Let a paused server go on."""
        if self._freeze is not None:
            self._freeze.thaw()
            self._freeze = None

    def kill(self) -> None:
        """Kill all processes of the server as a crash would (SIGKILL); does nothing if it does not run."""
        if self._child is not None:
            kill_all(self._child, STOP_TIMEOUT_S)
        self.resume()

    def restart(self) -> None:
        """Shut the server down if it still runs, start it on the same port and data, and wait until it answers."""
        self._started()
        self._end()
        self._run()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @abc.abstractmethod
    def _launch(self, log: Path) -> Child:
        """Start the program on `port`, its output in `log`."""

    @abc.abstractmethod
    def _answers(self, child: Child) -> bool:
        """Tell whether `child` serves clients; a stranger who answers on its port does not count."""

    def _prepare(self) -> None:  # noqa: B027 - most have nothing to do
        """Provide what the program needs before its first launch."""

    def _clean(self) -> None:  # noqa: B027 - as above
        """Remove what `_prepare` provided for this run alone."""

    def _run(self) -> None:
        if self._log_path.exists():
            self._log_path.replace(self._log_path.with_name("server.log.1"))
        child = self._child = self._launch(self._log_path)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers(child):
            code = child.wait(_READY_TICK_S)
            if code is not None:
                raise self._failure(f"ended with exit code {code}")
            if time.monotonic() >= deadline:
                raise self._failure(f"did not answer within {START_TIMEOUT_S} s")

    def _end(self) -> None:
        self.resume()
        if self._child is not None:
            self._child.terminate(self.stop_signal)
            if self._child.wait(STOP_TIMEOUT_S) is None:
                self.kill()

    def _started(self) -> Child:
        if self._child is None:
            raise StartFailed(f"{self.name} was never started")
        return self._child

    def _failure(self, what: str) -> StartFailed:
        log = self._log_path.read_text(encoding="utf-8", errors="replace")
        if "Address already in use" in log:
            return PortTaken(f"{self.name} cannot listen on {HOST}, port {self.port}")
        reasons = [line for line in log.splitlines() if any(mark in line for mark in self.error_marks)]
        told = reasons[0][:500] if reasons else "its log names no error"
        return StartFailed(f"{self.name} {what}: {told}; see {self._log_path}")
