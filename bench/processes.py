"""What a process and its descendants have used, as Linux counts it in /proc."""

import os
from pathlib import Path
from typing import Final, NamedTuple

_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
_PAGE_MIB: Final = os.sysconf("SC_PAGE_SIZE") / 2**20
_PROC: Final = Path("/proc")


class Usage(NamedTuple):
    """CPU seconds of a tree, user and system, of all threads and of children that have ended; and its memory.

    `worker_mib` is the resident memory of each process that has no children of its own, which leaves out a supervisor;
    `peak_mib` the most that any of them ever had.
    """

    cpu_s: float
    worker_mib: tuple[float, ...]
    peak_mib: float


class _Process(NamedTuple):
    parent: int
    cpu_s: float
    resident_mib: float


def usage(pid: int) -> Usage:
    """Return the usage of the tree that begins at `pid`. Raises `ProcessLookupError` where there is none."""
    processes = _processes()
    if pid not in processes:
        raise ProcessLookupError(f"no process {pid}")
    tree = [pid]
    for parent in tree:
        tree += [child for child, process in processes.items() if process.parent == parent]
    parents = {processes[member].parent for member in tree}
    workers = [member for member in tree if member not in parents]
    return Usage(
        sum(processes[member].cpu_s for member in tree),
        tuple(processes[member].resident_mib for member in workers),
        max(map(_peak_mib, workers)),
    )


def _processes() -> dict[int, _Process]:
    found = {}
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
            except OSError:  # it has ended meanwhile
                continue
            found[int(folder.name)] = _parse(stat)
    return found


def _parse(stat: str) -> _Process:
    """Read the fields behind the program's name, which may hold anything: field 3 of proc(5) is the first of them."""
    fields = stat.rpartition(")")[2].split()
    ticks = sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime
    return _Process(int(fields[1]), ticks * _TICK_S, int(fields[21]) * _PAGE_MIB)


def _peak_mib(pid: int) -> float:
    try:
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)
