"""Finds processes that a test run started and did not end, orphans included."""

import os
import uuid
from pathlib import Path

import psutil

_TAG = "TEST_RUN_ID"


def tag_this_run() -> str:
    """Mark the environment that every process started from here inherits; returns the mark."""
    mark = uuid.uuid4().hex
    os.environ[_TAG] = mark
    return mark


def leftovers(mark: str, folder: Path, timeout_s: float) -> list[str]:
    """Return the processes of the run `mark` that have not ended by the timeout as `pid name`, and kill them.

    `folder` is the run's own, which holds the files of all that it starts.
    """
    _, alive = psutil.wait_procs(_started_by(mark, folder.resolve()), timeout=timeout_s)
    named = []
    for process in alive:
        try:
            named.append(f"{process.pid} {process.name()}")
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=timeout_s)
    return named


def _started_by(mark: str, folder: Path) -> list[psutil.Process]:
    """Return the children of this process, and the run's processes whose parents have gone.

    They carry the mark, or work in a folder of the run's: PostgreSQL writes titles over the environment of its own.
    """
    me = psutil.Process()
    found = {process.pid: process for process in me.children(recursive=True)}
    for process in psutil.process_iter():
        try:
            if process.pid == me.pid or process.pid in found:
                continue
            if process.environ().get(_TAG) == mark or Path(process.cwd()).is_relative_to(folder):
                found[process.pid] = process
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return list(found.values())
