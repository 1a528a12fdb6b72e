"""On what and with what a run was made: absolute figures mean nothing without it."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec

LIBRARIES: Final = ("aiokafka", "httptools", "msgspec", "starlette", "uvicorn", "uvloop")
_ROOT: Final = Path(__file__).resolve().parent.parent


class Machine(msgspec.Struct, frozen=True):
    """`load_1m` is the load average before the run: above about 0.5 something else was running.

    `commit` ends in `+` where the checkout was changed since.
    """

    cpu: str
    cores: int
    memory_mib: int
    system: str
    python: str
    libraries: dict[str, str]
    commit: str
    load_1m: float


def machine() -> Machine:
    """Return the facts of this moment."""
    return Machine(
        _cpu(),
        os.cpu_count() or 0,
        os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20,
        f"{platform.system()} {platform.release()}",
        platform.python_version(),
        {name: version(name) for name in LIBRARIES},
        _commit(),
        os.getloadavg()[0],
    )


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _commit() -> str:
    """Return the checkout's commit, or `unknown` where there is no git or no repository."""
    try:
        commit = _git("rev-parse", "--short=12", "HEAD")
        return commit + "+" if _git("status", "--porcelain") else commit
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    finished = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=True)
    return finished.stdout.strip()
