"""This machine: the data folder, its room and its file system, and how many files the process may open."""

import contextlib
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ingest.checks.finding import Finding, fault, ok, warning
from ingest.transport.contract import ConfigurationError
from ingest.transport.files import refuse_network_file_system

FILES_BESIDE_CONNECTIONS: Final = 256
"""What a worker opens besides its clients' connections: logs, spools, brokers, the database."""

_MIB: Final = 1024 * 1024


def data_folder(folder: Path) -> Iterator[Finding]:
    """Tell whether the process may make and use its data folder, and whether that lies on a disk of this machine."""
    place = _nearest(folder)
    if not place.is_dir():
        yield fault("folder", f"INGEST_DATA_DIR leads through {place}, which is no folder", "name another one")
        return
    if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
        yield fault(
            "folder", f"this user may not write into {place}, where INGEST_DATA_DIR is", "give the folder to this user"
        )
    elif place == folder and place.stat().st_uid != os.geteuid():
        yield warning(
            "folder", "INGEST_DATA_DIR belongs to another user, who may read it", "give the folder to this user"
        )
    else:
        yield ok("folder", "INGEST_DATA_DIR can be used")
    try:
        refuse_network_file_system(place)
    except ConfigurationError as error:
        yield fault("file system", f"INGEST_DATA_DIR cannot be used: {error}", "put it on a local disk")
    else:
        yield ok("file system", "INGEST_DATA_DIR lies on a file system of this machine, as far as the kernel tells")


def room(folder: Path, bytes_max: int) -> Finding:
    """Tell whether the disk has room for all that may be kept there, what lies there already counted in."""
    free, held = shutil.disk_usage(_nearest(folder)).free, _held(folder)
    told = f"{free // _MIB} MiB are free for INGEST_SPOOL_BYTES_MAX of {bytes_max // _MIB} MiB, {held // _MIB} in use"
    if free + held < bytes_max:
        return warning(
            "room", f"the disk fills before the spool does: {told}", "enlarge the disk or lower INGEST_SPOOL_BYTES_MAX"
        )
    return ok("room", told)


def open_files(connections_max: int) -> Finding:
    """Tell whether one worker may open as many connections as the settings allow."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections_max + FILES_BESIDE_CONNECTIONS
    if soft != resource.RLIM_INFINITY and soft < needed:
        return warning(
            "open files",
            f"a process here may open {soft} files, and INGEST_CONNECTIONS_MAX of {connections_max} needs {needed}",
            "raise the limit (`ulimit -n`, LimitNOFILE) or lower INGEST_CONNECTIONS_MAX",
        )
    return ok("open files", f"the limit of open files is enough for {connections_max} connections")


def _nearest(folder: Path) -> Path:
    """Return the folder, or where it is not there yet the nearest one above it that is."""
    path = folder.absolute()
    return next((each for each in (path, *path.parents) if each.exists()), path)


def _held(folder: Path) -> int:
    """Return how many bytes the files in it have; one may go while it is looked at."""
    held = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                held += (Path(parent) / name).stat().st_size
    return held
