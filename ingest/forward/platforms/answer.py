"""How answers are read, whatever they hold: an answer may come from a proxy on the way as well."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import msgspec

from ingest.forward.platforms.contract import Dead, Later, Refused, Verdict

RETRY_AFTER_S_MAX: Final = 3_600.0
"""Longest wait that an answer may ask for."""

UNREADABLE: Final = "unreadable"
"""The code of an answer that tells of success in no form that is known."""

_CODE_MAX: Final = 10**9
_DEAD: Final = frozenset({401, 403, 404, 405, 407, 410})
_AGAIN: Final = frozenset({408, 425, 429})


def members(body: bytes) -> Mapping[str, Any]:
    """Return the members of a JSON object; none for anything else."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def code_of(value: Any) -> int | None:
    """Return a code; None where there is none, or a number that no code is."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        value = int(value)
    return value if type(value) is int and 0 <= value <= _CODE_MAX else None


def by_status(status: int, headers: Mapping[str, str]) -> Verdict:
    """Return what an answer means of which nothing but the status can be read."""
    code = f"http_{status}"
    if status in _DEAD:
        return Dead(code)
    if 400 <= status <= 499 and status not in _AGAIN:
        return Refused(code)
    return Later(UNREADABLE if 200 <= status <= 299 else code, retry_after_s(headers), throttled=status == 429)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the wait that an answer asks for, in seconds up to RETRY_AFTER_S_MAX.

    A date counts from the answer's own, since there is no clock here; without that it says nothing.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:12]), RETRY_AFTER_S_MAX)
    until, sent = _date(text), _date(headers.get("date", ""))
    if until is None or sent is None:
        return None
    return min(max((until - sent).total_seconds(), 0.0), RETRY_AFTER_S_MAX)


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
