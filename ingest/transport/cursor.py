"""How far one consumer group has come in one topic, in a small file that is replaced as a whole."""

import os
import re
from pathlib import Path
from typing import Final

import msgspec
import structlog

from ingest.transport.contract import ConfigurationError
from ingest.transport.files import FileLock, sync_folder

_GROUP: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")

_log = structlog.get_logger(__name__)


class _State(msgspec.Struct):
    next_offset: int


class Cursor:
    """The committed position of `group` in `topic`. While it is open no other consumer can have it. Every call blocks.

    A file that cannot be read counts as no position: records are handed out again rather than skipped.
    """

    def __init__(self, folder: Path, group: str, topic: str) -> None:
        """Take the cursor. Raises `ConfigurationError` on a bad group name or one in use, or `OSError`."""
        if not _GROUP.fullmatch(group):
            raise ConfigurationError("a consumer group is named with a-z, 0-9, - and _, at most 63 of them")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = folder / f"{group}.{topic}"
        self._lock = FileLock(folder / f"{group}.{topic}.lock", f"the consumer group {group}")

    def read(self) -> int | None:
        """Return the committed position, or None where there is none."""
        return _read(self._path)

    def write(self, next_offset: int) -> None:
        """Remember `next_offset` durably. Raises `OSError` with the position before still in place."""
        draft = self._path.with_name(f"{self._path.name}.draft")
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, msgspec.json.encode(_State(next_offset)))
            os.fsync(file)
        finally:
            os.close(file)
        draft.replace(self._path)
        sync_folder(self._path.parent)

    def close(self) -> None:
        """Let others have the cursor; a second call is a no-op."""
        self._lock.release()


def committed(folder: Path, group: str, topic: str) -> int | None:
    """Return the committed position of `group` in `topic`, None where there is none; whoever has the cursor keeps it.

    Raises `OSError`.
    """
    return _read(folder / f"{group}.{topic}")


def _read(path: Path) -> int | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_State).next_offset
    except FileNotFoundError:
        return None
    except msgspec.DecodeError:
        _log.error("cursor_unreadable", file=path.name)
        return None
