"""Validate: the four members that can cost an event its place in the batch."""

import re
from datetime import date
from typing import Any, Final

from ingest.event import JsonObject, ValidEvent
from ingest.outcome import Fault, RejectionCode

NAME_CHARS_MAX: Final = 200
EVENT_ID_CHARS_MAX: Final = 200

# RFC 3339, and as SDKs write it: a space for the T, seconds, fraction and offset optional. Days that not every month
# has are a group.
_date_time = re.compile(
    r"(?!0000)\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8]|(29|3[01]))[Tt ]"
    r"(?:[01]\d|2[0-3]):[0-5]\d(?::(?:[0-5]\d|60)(?:\.\d+)?)?"
    r"(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)?",
    re.ASCII,
).fullmatch

NOT_AN_OBJECT: Final = Fault(RejectionCode.NOT_AN_OBJECT, "An event must be an object.")
_NO_NAME = Fault(RejectionCode.MISSING_FIELD, "`event` is required.", "event")
_NAME_TYPE = Fault(RejectionCode.INVALID_TYPE, "`event` must be a string.", "event")
_NAME_LENGTH = Fault(RejectionCode.INVALID_VALUE, f"`event` must have 1 to {NAME_CHARS_MAX} characters.", "event")
_NO_TIME = Fault(RejectionCode.MISSING_FIELD, "`timestamp` is required.", "timestamp")
_TIME_TYPE = Fault(RejectionCode.INVALID_TYPE, "`timestamp` must be a string.", "timestamp")
_TIME_FORM = Fault(RejectionCode.INVALID_TIMESTAMP, "`timestamp` must be an RFC 3339 date-time.", "timestamp")
_APP_TYPE = Fault(RejectionCode.INVALID_TYPE, "`app_id` must be a string.", "app_id")
_APP = Fault(RejectionCode.APP_MISMATCH, "`app_id` must be the app that sends.", "app_id")
_ID_TYPE = Fault(RejectionCode.INVALID_TYPE, "`event_id` must be a string or an integer.", "event_id")
_ID_LENGTH = Fault(
    RejectionCode.INVALID_VALUE, f"`event_id` must have at most {EVENT_ID_CHARS_MAX} characters.", "event_id"
)


def validate(event: Any, app_id: str) -> ValidEvent | Fault:
    """Return the event if it may go on, else its first fault. Members that are null count as absent."""
    if type(event) is not dict:
        return event if isinstance(event, Fault) else NOT_AN_OBJECT
    name = event.get("event")
    if type(name) is not str:
        return _NO_NAME if name is None else _NAME_TYPE
    if not 0 < len(name) <= NAME_CHARS_MAX:
        return _NAME_LENGTH
    return fault_of(event, app_id) or ValidEvent(event)


def fault_of(event: JsonObject, app_id: str, *, needs_time: bool = True) -> Fault | None:
    """Return the first fault of the members that all that an app sends has in common: its time, app and id."""
    stamp = event.get("timestamp")
    if type(stamp) is not str:
        if stamp is not None or needs_time:
            return _NO_TIME if stamp is None else _TIME_TYPE
    elif not is_date_time(stamp):
        return _TIME_FORM
    own = event.get("app_id")
    if own != app_id and own is not None and str(own) != app_id:
        return _APP if type(own) is str or type(own) is int else _APP_TYPE
    event_id = event.get("event_id")
    if type(event_id) is str:
        if len(event_id) > EVENT_ID_CHARS_MAX:
            return _ID_LENGTH
    elif event_id is not None:
        if type(event_id) is not int:
            return _ID_TYPE
        if len(str(event_id)) > EVENT_ID_CHARS_MAX:
            return _ID_LENGTH
    return None


def is_date_time(text: Any) -> bool:
    """Tell whether `text` is an RFC 3339 date-time of a day that exists; a leap second is one."""
    found = _date_time(text) if type(text) is str else None
    if found is None:
        return False
    if found[1] is None:
        return True
    try:
        date.fromisoformat(text[:10])
    except ValueError:
        return False
    return True
