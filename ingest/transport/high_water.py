"""A small file that remembers how far a log has come, so that the loss of the log's tail is noticed.

    byte    0 .. 4095   slot 0        slot = SHA-256 of the rest (32 bytes) | generation (8) | length (4) | body | zeros
    byte 4096 .. 8191   slot 1        body = MessagePack of {topic: next offset}

Each write goes to the slot that does not hold the newest good state, and is synced before it counts. A write torn by a
crash spoils one slot; the other still tells the state before it, and nothing that the torn write stood for had been
acknowledged. The file is allocated once, so a sync has no metadata to write.
"""

import hashlib
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

SLOT_BYTES: Final = 4096
_DIGEST_BYTES: Final = 32
_HEAD: Final = struct.Struct(">QI")  # generation, length of the body
_BODY_BYTES_MAX: Final = SLOT_BYTES - _DIGEST_BYTES - _HEAD.size

_decode = msgspec.msgpack.Decoder(dict[str, int]).decode

Sync = Callable[[int], None]
"""Brings what was written to a file descriptor to stable storage, or raises `OSError`."""

sync_data: Final[Sync] = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


class HighWaterMark:
    """The next offset of each topic, as far as anything was acknowledged. Used by one thread at a time."""

    def __init__(self, path: Path, sync: Sync = sync_data) -> None:
        self._sync = sync
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self.found = os.fstat(self._file).st_size > 0
            self._generation, self._offsets = self._newest()
            if (size := os.fstat(self._file).st_size) < 2 * SLOT_BYTES:
                os.pwrite(self._file, bytes(2 * SLOT_BYTES - size), size)
        except BaseException:
            os.close(self._file)
            raise

    @property
    def readable(self) -> bool:
        """Whether a good slot was found or has been written since."""
        return self._generation > 0

    @property
    def offsets(self) -> Mapping[str, int]:
        """The next offset of each topic by the newest good slot."""
        return self._offsets

    def write(self, offsets: Mapping[str, int]) -> None:
        """Remember `offsets` durably. Raises `OSError`; then the state before is still in the other slot."""
        body = msgspec.msgpack.encode(offsets)
        if len(body) > _BODY_BYTES_MAX:
            raise OSError(f"the high-water mark holds at most {_BODY_BYTES_MAX} bytes")
        generation = self._generation + 1
        rest = (_HEAD.pack(generation, len(body)) + body).ljust(SLOT_BYTES - _DIGEST_BYTES, b"\0")
        slot = hashlib.sha256(rest).digest() + rest
        if os.pwrite(self._file, slot, generation % 2 * SLOT_BYTES) < SLOT_BYTES:
            raise OSError("the high-water mark was written only in part")
        self._sync(self._file)
        self._generation, self._offsets = generation, dict(offsets)

    def close(self) -> None:
        """Release the file; a second call is a no-op."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _newest(self) -> tuple[int, dict[str, int]]:
        return _newest(os.pread(self._file, 2 * SLOT_BYTES, 0))


def offsets_in(path: Path) -> Mapping[str, int]:
    """Return the offsets in a file that somebody else may have open, none where it cannot be read."""
    try:
        return _newest(path.read_bytes())[1]
    except OSError:
        return {}


def _newest(slots: bytes) -> tuple[int, dict[str, int]]:
    found = map(_read_slot, (slots[:SLOT_BYTES], slots[SLOT_BYTES:]))
    return max((slot for slot in found if slot is not None), key=lambda slot: slot[0], default=(0, {}))


def _read_slot(slot: bytes) -> tuple[int, dict[str, int]] | None:
    digest, rest = slot[:_DIGEST_BYTES], slot[_DIGEST_BYTES:]
    if hashlib.sha256(rest).digest() != digest:
        return None
    generation, length = _HEAD.unpack_from(rest)
    return generation, _decode(rest[_HEAD.size : _HEAD.size + length])
