"""By what a changed file is noticed without reading it."""

from pathlib import Path
from typing import NamedTuple


class Fingerprint(NamedTuple):
    """What changes when a file is replaced or written to."""

    modified_ns: int
    size_bytes: int
    inode: int


def fingerprint(path: Path) -> Fingerprint:
    """Return the fingerprint of a file as it is now. Raises `OSError` where there is none."""
    status = path.stat()
    return Fingerprint(status.st_mtime_ns, status.st_size, status.st_ino)
