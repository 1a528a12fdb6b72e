"""One started program, which never outlives the one who started it."""

import atexit
import contextlib
import functools
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

from devservices.account import Account

_TETHER = str(Path(__file__).with_name("tether.py"))
_TICK_S = 0.02
_KILL_TIMEOUT_S = 30


class Child:
    """A running program in a process group of its own, its output in files or where its owner's goes.

    It ends by `stop` or `kill`; else when this interpreter exits (atexit); else, on Linux, when this process dies
    without a chance to tidy up, SIGKILL included (see tether.py). A Ctrl-C in the terminal does not reach it, so its
    owner decides when it stops. All methods may be called from any thread, but by one at a time.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        stdout: Path | None,
        stderr: Path | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        account: Account | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        """Start `command`; `stderr` None joins it to `stdout`, `env` None passes on this process's environment.

        `stdout` None lets it write where this process does.

        With an `account` the program gives up this process's rights first. It inherits the descriptors `pass_fds`
        under their own numbers, besides its output.
        """
        identity = "-" if account is None else f"{account.uid}:{account.gid}"
        tethered = [sys.executable, "-I", "-S", _TETHER, str(os.getpid()), identity, *command]
        with contextlib.ExitStack() as files:
            out = None if stdout is None else files.enter_context(stdout.open("wb"))
            joined = None if out is None else subprocess.STDOUT
            err = joined if stderr is None else files.enter_context(stderr.open("wb"))

            def spawn() -> subprocess.Popen[bytes]:
                return subprocess.Popen(  # noqa: S603 - callers pass fixed programs, no shell is involved
                    tethered,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    env=env,
                    cwd=cwd,
                    start_new_session=True,
                    pass_fds=pass_fds,
                )

            self._process = _launch(spawn)
        self._owner_pid = os.getpid()
        _running.add(self)

    @property
    def pid(self) -> int:
        """The process id of the program, which is also the id of its process group."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the program has not ended; a paused one still runs."""
        return self.wait(0) is None

    def wait(self, timeout_s: float) -> int | None:
        """Wait until the program has ended and return its exit code (negative: the signal), or None at the timeout."""
        deadline = time.monotonic() + timeout_s
        while self._process.poll() is None:
            if time.monotonic() >= deadline:
                return None
            time.sleep(_TICK_S)
        if self in _running:
            _running.discard(self)
            self._signal_group(signal.SIGKILL)  # what it started itself and left behind
        return self._process.returncode

    def pause(self) -> None:
        """Freeze the program with SIGSTOP; on return it stands still."""
        if self.wait(0) is not None:
            raise ProcessLookupError("the program has ended")
        self._signal_group(signal.SIGSTOP)
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):  # it ended first, and this call has collected its exit code
            self._process.returncode = os.waitstatus_to_exitcode(status)

    def resume(self) -> None:
        """Let a paused program go on (SIGCONT)."""
        self._signal_group(signal.SIGCONT)

    def terminate(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Ask the program to end by the signal `number`, paused or not, without waiting for it."""
        if self.wait(0) is None:
            self._process.send_signal(number)
            self.resume()

    def stop(self, timeout_s: float, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask the program to end, kill it at the timeout, and return its exit code (negative: the signal)."""
        self.terminate(number)
        code = self.wait(timeout_s)
        return self.kill() if code is None else code

    def kill(self) -> int:
        """Kill the whole process group (SIGKILL), wait for the end, and return the exit code (negative: the signal)."""
        if self.wait(0) is None:
            self._signal_group(signal.SIGKILL)
        self._process.wait(_KILL_TIMEOUT_S)
        _running.discard(self)
        return self._process.returncode

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def kill_if_owned(self) -> None:
        """Kill the program unless this process is a fork of the one that started it."""
        if os.getpid() == self._owner_pid:
            self.kill()


_running: set[Child] = set()


@atexit.register
def _kill_running() -> None:
    for child in tuple(_running):
        child.kill_if_owned()


_Job = tuple[Callable[[], "subprocess.Popen[bytes]"], "Future[subprocess.Popen[bytes]]"]


def _launch(spawn: Callable[[], "subprocess.Popen[bytes]"]) -> "subprocess.Popen[bytes]":
    """Run `spawn` on a thread that lives as long as this process.

    The tether holds on to the *thread* that forks: a child started from a worker thread would die with that thread.
    """
    started: Future[subprocess.Popen[bytes]] = Future()
    _launcher(os.getpid()).put((spawn, started))
    return started.result()


@functools.cache
def _launcher(pid: int) -> "queue.SimpleQueue[_Job]":
    """Return the jobs of this process's launching thread; a fork (another `pid`) gets a thread of its own."""
    jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()

    def work() -> None:
        while True:
            spawn, started = jobs.get()
            try:
                started.set_result(spawn())
            except BaseException as error:  # noqa: BLE001 - raised again where the child was asked for
                started.set_exception(error)

    threading.Thread(target=work, name=f"child-launcher-{pid}", daemon=True).start()
    return jobs
