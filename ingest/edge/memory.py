"""The server's memory settled for serving: what the start made is looked at no more, and freed buffers are kept."""

import ctypes
import gc
from contextlib import suppress
from typing import Final

GC_THRESHOLDS: Final = (20_000, 20, 20)

# glibc's names for what `mallopt` sets.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
TRIM_BYTES: Final = 64 * 2**20
MMAP_BYTES: Final = 32 * 2**20


def settle() -> None:
    """Do it, once everything is in place.

    The garbage collector leaves alone what is there now, and looks less often: 7 us a request. A body, its events and
    their records are some hundred KB each, which glibc would fetch from the system and give back for every batch, each
    page with a fault: 4 us an event. So it keeps up to `TRIM_BYTES` of what was freed, and goes to the system only for
    what is larger than `MMAP_BYTES`. Other C libraries have no `mallopt`, and do as they do.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, TRIM_BYTES)
        mallopt(_MMAP_THRESHOLD, MMAP_BYTES)
