"""Two things the operating system does for files: a lock that dies with its holder, and names made durable."""

import fcntl
import os
from pathlib import Path

from ingest.transport.contract import ConfigurationError


class FileLock:
    """Holds `path` against every other holder, in this process too. The file stays where it is."""

    def __init__(self, path: Path, what: str) -> None:
        """Take the lock at once. Raises `ConfigurationError` with `what` is in use, or `OSError`."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise ConfigurationError(f"{what} is in use by another process or object (lock {path})") from None
        except OSError:
            self.release()
            raise

    def release(self) -> None:
        """Give the lock back; a second call is a no-op."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def sync_folder(folder: Path) -> None:
    """Make the names of new or renamed files in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
