"""What the operating system does for files: a lock that dies with its holder, names made durable, where a folder is."""

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Final

from ingest.transport.contract import ConfigurationError


class InUse(ConfigurationError):  # noqa: N818 - named for what the operator can do about it
    """Somebody else holds the lock."""


class FileLock:
    """Holds `path` against every other holder, in this process too. The file stays where it is."""

    def __init__(self, path: Path, what: str) -> None:
        """Take the lock at once. Raises `InUse` with `what` is in use, or `OSError`."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise InUse(f"{what} is in use by another process or object (lock {path})") from None
        except OSError:
            self.release()
            raise

    def release(self) -> None:
        """Give the lock back; a second call is a no-op."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def private_folder(folder: Path) -> None:
    """Make `folder` if it is not there, and keep others out of it. Raises `OSError`.

    Its parents are made as the system makes folders. One that belongs to somebody else keeps its mode.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(PermissionError):
        folder.chmod(0o700)


_NETWORK_FILE_SYSTEMS: Final = frozenset(
    "nfs nfs4 cifs smb3 smbfs 9p afs ceph glusterfs lustre gpfs beegfs ocfs2 gfs2 fuse.sshfs fuse.glusterfs"
    " fuse.ceph-fuse fuse.s3fs fuse.rclone fuse.gcsfuse fuse.mount-s3 davfs fuse.davfs2".split()
)
_MOUNTS: Final = Path("/proc/self/mountinfo")


def refuse_network_file_system(folder: Path, mounts: Path = _MOUNTS) -> None:
    """Raise `ConfigurationError` where `folder` lies on another machine, as far as the kernel tells.

    Locks and syncs there promise less than they do on a disk, and the network may be away together with Kafka. `mounts`
    has the form of /proc/self/mountinfo; without it, on other systems, nothing is refused.
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    path, found = folder.resolve(), ("", "")
    for line in lines:
        fields, _, rest = line.partition(" - ")
        place, kind = fields.split(" ")[4].encode().decode("unicode_escape"), rest.split(" ")[0]
        if path.is_relative_to(place) and len(place) >= len(found[0]):
            found = place, kind
    if found[1] in _NETWORK_FILE_SYSTEMS:
        raise ConfigurationError(f"{folder} lies on the network file system {found[1]}; a spool needs a local disk")


def sync_folder(folder: Path) -> None:
    """Make the names of new or renamed files in `folder` durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
