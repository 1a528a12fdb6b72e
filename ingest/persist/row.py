"""A record as one line of `COPY … FROM STDIN` in its text form.

Shaped by its cost: one decoding of `meta`, one of the few members that are columns, and the event's JSON copied as it
is. Backslash, tab and line ends are the only bytes that the form needs escaped, and compact JSON holds of them the
backslash alone.
"""

import contextlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from ingest.consume.zeros import ZERO_ESCAPE, without_zeros
from ingest.db.queries.events import EVENT_COLUMNS
from ingest.erasure import digests_in
from ingest.transport.contract import SCHEMA, Delivered

COLUMNS: Final = tuple(name.strip() for name in EVENT_COLUMNS.split(","))
"""The fields of a line, in their order."""

ID_BYTES_MAX: Final = 1024
"""Longest id that is a column: an index of PostgreSQL takes keys of about 2,700 bytes."""

# U+0000 stands for null until all fields are one text: no text of a row holds it, and nothing else escapes it.
_NULL: Final = "\0"
_NULL_MARK: Final = _NULL.encode()
_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_NOTE: Final = "zero_replaced"

_time = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d)(:\d\d)?(\.\d+)?(?:[Zz]|([+-]\d\d:\d\d))?", re.ASCII).fullmatch


class Meta(msgspec.Struct):
    """The members of `meta` that become columns."""

    app_id: str
    event_id: str
    project_id: str
    organization_id: str
    received_at: str
    source: str
    environment: str | None = None
    country_code: str | None = None
    subdivision1_code: str | None = None


class _Event(msgspec.Struct):
    event: str
    timestamp: str
    user_id: Any = None
    app_user_id: Any = None
    install_id: Any = None
    session_id: Any = None
    platform: Any = None


class _Record(msgspec.Struct):
    meta: msgspec.Raw
    event: msgspec.Raw


_decode_record = msgspec.json.Decoder(_Record).decode
_decode_meta = msgspec.json.Decoder(Meta).decode
_decode_event = msgspec.json.Decoder(_Event).decode


class Unusable(ValueError):  # noqa: N818 - named for what it means to the caller
    """A record cannot become a row; the message is a code of ours."""


class Row(msgspec.Struct, frozen=True, gc=False):
    """A line for `COPY`, and the day of its partition, `YYYY-MM-DD` in UTC; whose it is, and since when it is here."""

    line: bytes
    day: str
    project_id: str
    received_at: str


def envelope(record: Delivered) -> tuple[Meta, bytes]:
    """Return what is known of what a record carries, and that as JSON that can be stored. Raises `Unusable`."""
    parts = _parts(record)
    try:
        return _decode_meta(parts.meta), bytes(parts.event)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise Unusable("record_malformed") from None


def to_row(record: Delivered) -> Row:
    """Return the row of a record of the topic `events`. Raises `Unusable`."""
    parts = _parts(record)
    try:
        meta, event = _decode_meta(parts.meta), _decode_event(parts.event)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Unusable("record_malformed") from None
    ts, day = _timestamp(event.timestamp)
    raw_event = bytes(parts.event)
    digests = digests_in(raw_event)
    fields = (
        meta.app_id,
        meta.event_id,
        ts,
        meta.project_id,
        meta.organization_id,
        event.event,
        meta.received_at,
        _id(event.user_id),
        _id(event.app_user_id),
        _id(event.install_id),
        _id(event.session_id),
        "{" + ",".join(digests) + "}" if digests else _NULL,
        _id(event.platform),
        meta.environment or _NULL,
        meta.country_code or _NULL,
        meta.subdivision1_code or _NULL,
        meta.source,
    )
    line = b"%b\t%b\t%b\n" % (
        _joined(fields),
        raw_event.replace(b"\\", b"\\\\"),
        bytes(parts.meta).replace(b"\\", b"\\\\"),
    )
    return Row(line, day, meta.project_id, meta.received_at)


def _timestamp(text: str) -> tuple[str, str]:
    """Return the client's time as PostgreSQL reads it, without an offset as UTC, and its day in UTC."""
    found = _time(text)
    if found is None:
        raise Unusable("timestamp_malformed")
    day, minutes, seconds, fraction, offset = found.groups()
    ts = f"{day} {minutes}{seconds or ':00'}{fraction or ''}{offset or '+00'}"
    if offset:
        with contextlib.suppress(ValueError, OverflowError):  # at the ends of the calendar, where no partition is
            day = datetime.fromisoformat(f"{day}T{minutes}{offset}").astimezone(UTC).date().isoformat()
    return ts, day


def _joined(fields: Sequence[str]) -> bytes:
    """Join fields as COPY reads them. Few hold what needs an escape, which is asked once for all of them."""
    text = "\t".join(fields)
    if "\\" in text or "\n" in text or "\r" in text or text.count("\t") >= len(fields):
        text = "\t".join(field.translate(_ESCAPES) for field in fields)
    return text.encode().replace(_NULL_MARK, b"\\N")


def _id(value: Any) -> str:
    """Return an id as text; what is neither text nor a number, or no key for its length, stays in the event alone."""
    if type(value) is str:
        return value if 4 * len(value) <= ID_BYTES_MAX or len(value.encode()) <= ID_BYTES_MAX else _NULL
    return str(value) if type(value) is int or type(value) is float else _NULL


def _parts(record: Delivered) -> _Record:
    if SCHEMA[0] not in record.headers:
        raise Unusable("schema_unknown")
    value = record.value
    try:
        return _decode_record(_noted_without_zeros(value) if ZERO_ESCAPE in value else value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Unusable("record_malformed") from None


def _noted_without_zeros(value: bytes) -> bytes:
    """Replace U+0000, and say so in the notes."""
    replaced = without_zeros(value)
    if replaced == value:
        return value
    try:
        record = msgspec.json.decode(replaced, type=_Record)
        meta: dict[str, Any] = msgspec.json.decode(record.meta)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Unusable("record_malformed") from None
    meta["notes"] = [*meta.get("notes", ()), _NOTE]
    return b'{"meta":%b,"event":%b}' % (msgspec.json.encode(meta), bytes(record.event))
