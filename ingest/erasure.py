"""Who is erased: which records hold somebody of whom nothing may be kept that was received until a certain time.

Ids and digests of erased people are known by their own digest alone, so that no list of them names anybody.
"""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

_DIGEST_CHARS: Final = 64
# Hex digits to one character, everything else to another: then a run of digits is found at the speed of memory.
_MARKED: Final = bytes(ord("x") if chr(byte) in "0123456789abcdef" else ord(" ") for byte in range(256))
_RUN: Final = b"x" * _DIGEST_CHARS


def subject_of(text: str) -> str:
    """Return by what an id or a digest is known once it is erased: the SHA-256 of its UTF-8 bytes, lower-case hex."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


class Erasure(msgspec.Struct, frozen=True):
    """Somebody is erased from a project: `subjects` as `subject_of` tells them, times are RFC 3339 in UTC with ms."""

    id: str
    organization_id: str
    project_id: str
    received_until: str
    subjects: tuple[str, ...]


class _Meta(msgspec.Struct):
    project_id: str
    received_at: str


class _Ids(msgspec.Struct):
    user_id: Any = None
    app_user_id: Any = None


class _Record(msgspec.Struct):
    meta: _Meta
    event: msgspec.Raw


_decode_record = msgspec.json.Decoder(_Record).decode
_decode_ids = msgspec.json.Decoder(_Ids).decode


class Erased:
    """All who are erased, to be asked for each record that comes late."""

    def __init__(self) -> None:
        self._until: dict[str, dict[str, str]] = {}
        self._latest = ""

    def add(self, project_id: str, subjects: Iterable[str], received_until: str) -> None:
        """Take somebody in; the same one again changes nothing but a later time."""
        known = self._until.setdefault(project_id, {})
        for subject in subjects:
            known[subject] = max(received_until, known.get(subject, ""))
        self._latest = max(self._latest, received_until)

    @property
    def latest(self) -> str:
        """Up to when anybody is erased: what was received later concerns nobody. Empty where nobody is."""
        return self._latest

    def covers(self, value: bytes) -> bool:
        """Tell whether the record with this value holds somebody who is erased. What is no record holds nobody."""
        if not self._until:
            return False
        try:
            record = _decode_record(value)
            known = self._until.get(record.meta.project_id)
            if known is None or record.meta.received_at > self._latest:
                return False
            subjects = subjects_in(bytes(record.event))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        received_at = record.meta.received_at
        return any(received_at <= known.get(subject, "") for subject in subjects)


def digests_in(event: bytes) -> list[str]:
    """Return every SHA-256 digest, lower-case hex, that stands anywhere in an event's JSON, each once, sorted.

    A longer run of hex digits is none.
    """
    marked = event.translate(_MARKED)
    begin = marked.find(_RUN)
    if begin < 0:
        return []
    found = set()
    while begin >= 0:
        end = marked.find(b" ", begin)
        end = len(marked) if end < 0 else end
        if end - begin == _DIGEST_CHARS:
            found.add(event[begin:end].decode())
        begin = marked.find(_RUN, end)
    return sorted(found)


def subjects_in(event: bytes) -> list[str]:
    """Return by what the user of an event would be known once erased. Raises `msgspec.MsgspecError` for no event."""
    ids = _decode_ids(event)
    users = [str(value) for value in (ids.user_id, ids.app_user_id) if type(value) in {str, int, float}]
    return [subject_of(text) for text in (*users, *digests_in(event))]


def until_text(at: datetime) -> str:
    """Return a time as it is compared with a record's `received_at`: RFC 3339 in UTC, rounded up to milliseconds."""
    at = at.astimezone(UTC)
    if at.microsecond % 1000:
        at += timedelta(microseconds=1000 - at.microsecond % 1000)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
