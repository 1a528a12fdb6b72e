"""Validate what an app says of a user: properties and choices of consent.

A statement is one object and goes the way of an event, so it has an event's `timestamp`, `app_id` and `event_id`.
"""

from collections.abc import Mapping
from typing import Any, Final

from ingest.event import JsonObject, ValidEvent
from ingest.outcome import Fault, RejectionCode
from ingest.pipeline.validate import NOT_AN_OBJECT, fault_of

USER_ID_BYTES_MAX: Final = 1024
"""Of a user's id and of a property's name: they are keys where statements are kept."""

PROPERTY_USER: Final = ("app_user_id", "anonymous_id", "install_id")
"""Whose properties they are: the first of these members that is there."""

CONSENT_USER: Final = ("app_user_id", "install_id")
"""Whose consent it is: all of these members that are there."""

CHOICES: Final = ("advertising", "analytics", "thirdPartySharing")
ATT_STATUS: Final = "att_status"
ATT_STATUSES: Final = ("authorized", "denied", "restricted", "not_determined", "unknown")

_SWITCH: Final = frozenset((bool, type(None)))
_NO_PROPERTIES = Fault(RejectionCode.MISSING_FIELD, "`properties` is required.", "properties")
_PROPERTIES_TYPE = Fault(RejectionCode.INVALID_TYPE, "`properties` must be an object.", "properties")
_PROPERTIES_NAME = Fault(
    RejectionCode.INVALID_VALUE, f"A property's name must have 1 to {USER_ID_BYTES_MAX} bytes.", "properties.*"
)
_ONCE_TYPE = Fault(RejectionCode.INVALID_TYPE, "`set_once` must be true or false.", "set_once")
_NO_CHOICE = Fault(RejectionCode.MISSING_FIELD, "One of the choices is required.", CHOICES[0])
_STATUS = Fault(RejectionCode.INVALID_VALUE, f"`att_status` must be one of {', '.join(ATT_STATUSES)}.", ATT_STATUS)


def validate_properties(statement: Any, app_id: str) -> ValidEvent | Fault:
    """Return a statement of a user's properties if it may go on, else its first fault."""
    fault = _shared_fault(statement, app_id, PROPERTY_USER)
    if fault is not None:
        return fault
    properties = statement.get("properties")
    if type(properties) is not dict:
        return _NO_PROPERTIES if properties is None else _PROPERTIES_TYPE
    if not all(0 < len(name.encode()) <= USER_ID_BYTES_MAX for name in properties):
        return _PROPERTIES_NAME
    return ValidEvent(statement) if type(statement.get("set_once")) in _SWITCH else _ONCE_TYPE


def validate_consent(statement: Any, app_id: str) -> ValidEvent | Fault:
    """Return a statement of consent if it may go on, else its first fault. A choice is never guessed from its type."""
    fault = _shared_fault(statement, app_id, CONSENT_USER)
    if fault is not None:
        return fault
    for name in CHOICES:
        if type(statement.get(name)) not in _SWITCH:
            return Fault(RejectionCode.INVALID_TYPE, f"`{name}` must be true or false.", name)
    status = statement.get(ATT_STATUS)
    if status is not None and status not in ATT_STATUSES:
        return _STATUS
    if status is None and all(statement.get(name) is None for name in CHOICES):
        return _NO_CHOICE
    return ValidEvent(statement)


def users_of(statement: Mapping[str, Any], members: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return the members that name a user, and what they say, as text; nulls and empty texts count as absent."""
    found = ((member, statement.get(member)) for member in members)
    return [(member, str(value)) for member, value in found if type(value) in {str, int} and value != ""]


def _shared_fault(statement: Any, app_id: str, members: tuple[str, ...]) -> Fault | None:
    if type(statement) is not dict:
        return statement if isinstance(statement, Fault) else NOT_AN_OBJECT
    return fault_of(statement, app_id) or _user_fault(statement, members)


def _user_fault(statement: JsonObject, members: tuple[str, ...]) -> Fault | None:
    for member in members:
        value = statement.get(member)
        if value is not None and type(value) not in {str, int}:
            return Fault(RejectionCode.INVALID_TYPE, f"`{member}` must be a string or an integer.", member)
        if value is not None and len(str(value).encode()) > USER_ID_BYTES_MAX:
            return Fault(
                RejectionCode.INVALID_VALUE, f"`{member}` must have at most {USER_ID_BYTES_MAX} bytes.", member
            )
    if not users_of(statement, members):
        return Fault(
            RejectionCode.MISSING_FIELD, "The user is required: one of " + ", ".join(members) + ".", members[0]
        )
    return None
