"""Reading parameters and small bodies: every fault is found before any is told."""

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from ingest.errors import Code, Refusal
from ingest.partner.call import Fault, invalid

PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 200
UNKNOWN_MAX: Final = 20
"""Members that nobody took of which each is told; their names are the client's own, so they stand as `*`."""
TEXT_CHARACTERS_MAX: Final = 200
CURSOR_CHARACTERS_MAX: Final = 2_000

TEXT: Final = r"^[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]+$"
"""A text in one line: no control characters, no line separators, and nothing that turns the direction of writing."""

_is_text = re.compile(TEXT).fullmatch
_is_number = re.compile(r"[1-9][0-9]{0,5}", re.ASCII).fullmatch


class Fields:
    """The members of a mapping, taken one by one; `done` refuses what is left over or did not hold up."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = dict(given)
        self._faults: list[Fault] = []

    def text(self, name: str, characters_max: int = TEXT_CHARACTERS_MAX) -> str | None:
        """Take a text, None where it is absent."""
        value = self._given.pop(name, None)
        if value is None:
            return None
        if not isinstance(value, str) or len(value) > characters_max or not _is_text(value):
            self.fault(name, f"must be a text of 1 to {characters_max} characters in one line")
            return None
        return value

    def time(self, name: str) -> datetime | None:
        """Take an RFC 3339 time, None where it is absent."""
        value = self.text(name)
        if value is None:
            return None
        try:
            at = msgspec.convert(value, datetime)
        except msgspec.ValidationError:
            self.fault(name, "must be an RFC 3339 date-time")
            return None
        return at if at.tzinfo else at.replace(tzinfo=UTC)

    def page_size(self, name: str = "limit") -> int:
        """Take the number of rows of a page."""
        value = self._given.pop(name, None)
        if value is None:
            return PAGE_DEFAULT
        if not isinstance(value, str) or not _is_number(value) or int(value) > PAGE_MAX:
            self.fault(name, f"must be a whole number from 1 to {PAGE_MAX}")
            return PAGE_DEFAULT
        return int(value)

    def cursor(self, parts: int, name: str = "cursor") -> list[str] | None:
        """Take the place of a page, which only `write_cursor` makes; None for the first page."""
        value = self.text(name, CURSOR_CHARACTERS_MAX)
        if value is None:
            return None
        try:
            read = base64.b64decode(value + "=" * (-len(value) % 4), b"-_", validate=True).decode().split("\n")
        except (binascii.Error, UnicodeDecodeError, ValueError):
            read = []
        if len(read) != parts or not all(part and part.isprintable() for part in read):
            self.fault(name, "must be the `nextCursor` of an earlier answer")
            return None
        return read

    def fault(self, path: str, message: str) -> None:
        """Note what does not hold up."""
        self._faults.append(Fault(path, message))

    def done(self) -> None:
        """Raise `Refusal` with `VALIDATION` where anything did not hold up, members that nobody took included."""
        self._faults += [Fault("*", "is not known")] * min(len(self._given), UNKNOWN_MAX)
        if self._faults:
            raise invalid(self._faults)


def write_cursor(*parts: str) -> str:
    """Return the place behind a page's last row."""
    return base64.urlsafe_b64encode("\n".join(parts).encode()).decode().rstrip("=")


def pack(text: str) -> str:
    """Return any text as a part of a cursor, which has to be printable."""
    return "." + base64.urlsafe_b64encode(text.encode()).decode()


def unpack(part: str) -> str | None:
    """Return the text that `pack` was given, None where this cannot be a part of its making."""
    try:
        text = base64.b64decode(part.removeprefix("."), b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    return text if part.startswith(".") and "\0" not in text else None


def read_object(body: bytes) -> Mapping[str, Any]:
    """Return the object in a body, an empty one for an empty body.

    Raises `Refusal`: `INVALID_JSON`, or `VALIDATION` for JSON that is no object.
    """
    if not body.strip():
        return {}
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refusal(Code.INVALID_JSON) from None
    if not isinstance(value, dict):
        raise invalid([Fault("", "must be an object")])
    return value
