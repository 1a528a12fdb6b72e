"""A program and everything it started, frozen together, in however many process groups they are."""

import contextlib
import subprocess
import time

import psutil

from devservices.child import Child

_FREEZE_TIMEOUT_S = 10
_TICK_S = 0.005
# Reads until its owner closes the pipe or dies. Frozen processes would not notice that their parent is dead.
_GUARD = ["/bin/sh", "-c", 'read _; kill -9 "$@"', "sh"]


class Freeze:
    """All processes of `child` stand still from here to `thaw`; if this process dies meanwhile, they are killed."""

    def __init__(self, child: Child) -> None:
        child.pause()  # first, so that it starts nothing more
        self._child = child
        self._others = descendants(child)
        pids = [str(process.pid) for process in self._others]
        self._guard = subprocess.Popen([*_GUARD, *pids], stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603 - fixed program
        deadline = time.monotonic() + _FREEZE_TIMEOUT_S
        for process in self._others:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        while any(_moves(process) for process in self._others) and time.monotonic() < deadline:
            time.sleep(_TICK_S)

    def thaw(self) -> None:
        """Let those of them go on that still live."""
        self._guard.kill()
        self._guard.communicate()
        for process in self._others:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
        if self._child.running:
            self._child.resume()


def descendants(child: Child) -> list[psutil.Process]:
    """Return the living processes that `child` and its children have started."""
    try:
        return psutil.Process(child.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def kill_all(child: Child, timeout_s: float) -> None:
    """Kill `child` and all that it started, frozen or not, and wait until they have ended."""
    with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
        if _moves(psutil.Process(child.pid)):
            child.pause()  # so that it starts nothing more
    others = descendants(child)
    child.kill()
    for process in others:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    deadline = time.monotonic() + timeout_s
    while any(_lives(process) for process in others) and time.monotonic() < deadline:
        time.sleep(_TICK_S)


def _moves(process: psutil.Process) -> bool:
    try:
        return process.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _lives(process: psutil.Process) -> bool:
    """Tell whether it has not ended; a zombie has, whether or not somebody collects its exit code."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
