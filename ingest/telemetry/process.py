"""What every process tells of itself: its memory, its CPU time, its version."""

import os
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Final

from ingest.telemetry.snapshot import Sample

VERSION: Final = version("ingest-edge")


def process_samples(log_fields_dropped: int) -> list[Sample]:
    """Return the figures that all processes have in common, as they are now."""
    return [
        Sample("ingest_log_fields_dropped_total", (), log_fields_dropped),
        Sample("ingest_process_resident_bytes", (), resident_bytes()),
        Sample("ingest_process_cpu_seconds_total", (), cpu_seconds()),
        Sample("ingest_build_info", (VERSION,), 1),
    ]


def cpu_seconds() -> float:
    """Return the CPU time of this process."""
    return time.process_time()


def resident_bytes() -> int:
    """Return the memory that this process holds."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    except OSError:
        # Without /proc only the peak is known: bytes on macOS, KiB elsewhere.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")
