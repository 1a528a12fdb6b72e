"""One conversion on its way to one platform."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, NamedTuple

import msgspec

from ingest.consume.zeros import without_zeros
from ingest.conversion import ConversionRecord, Platform

_decode = msgspec.json.Decoder(ConversionRecord).decode


class Key(NamedTuple):
    """By what a delivery is known: the identity of its event, and the platform. `event_at` is the client's own text."""

    app_id: str
    event_id: str
    event_at: str
    platform: Platform


class Job(NamedTuple):
    """A conversion that is to be sent. `value` is its record as it came, `begun_at_ms` when sending was first tried."""

    key: Key
    record: ConversionRecord
    value: bytes
    begun_at_ms: int


class Unreadable(ValueError):  # noqa: N818 - named for what it means to the caller
    """The bytes are no record of a conversion; the message is a code of ours."""


def jobs_of(value: bytes, now_ms: int) -> Iterator[Job]:
    """Return a job for each platform that a record is for. Raises `Unreadable`."""
    record = read_record(value)
    meta, event = record.meta, record.event
    return (
        Job(Key(meta.app_id, meta.event_id, event.timestamp, platform), record, value, now_ms) for platform in event.to
    )


def read_record(value: bytes) -> ConversionRecord:
    """Return the record in these bytes. Raises `Unreadable`."""
    try:
        return _decode(without_zeros(value))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Unreadable("record_malformed") from None


AHEAD_MS_MAX: Final = 60 * 60 * 1000
"""A client's clock may be ahead of ours by so much; the event then counts as of its receipt."""


def happened_at_ms(record: ConversionRecord) -> int | None:
    """Return when the event happened, Unix time; not after its receipt. None where its clock is far ahead."""
    received_ms = _unix_ms(record.meta.received_at)
    assert received_ms is not None, "the edge writes a time"
    said_ms = _unix_ms(record.event.timestamp)
    if said_ms is None:
        return received_ms
    return min(said_ms, received_ms) if said_ms <= received_ms + AHEAD_MS_MAX else None


def _unix_ms(text: str) -> int | None:
    """Read an RFC 3339 time, without an offset as UTC; None for a second that calendars do not have."""
    try:
        at = datetime.fromisoformat(text.upper())
    except ValueError:
        return None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
