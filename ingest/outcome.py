"""The closed set of fates of an event at the edge: accepted, duplicate, or rejected with a code."""

import enum

import msgspec


class RejectionCode(enum.StrEnum):
    """Why one event of a batch is not accepted. Its neighbours are not affected."""

    NOT_AN_OBJECT = "NOT_AN_OBJECT"
    MISSING_FIELD = "MISSING_FIELD"
    INVALID_TYPE = "INVALID_TYPE"
    INVALID_TIMESTAMP = "INVALID_TIMESTAMP"
    INVALID_VALUE = "INVALID_VALUE"
    APP_MISMATCH = "APP_MISMATCH"
    TOO_LARGE = "TOO_LARGE"


class Fault(msgspec.Struct, frozen=True):
    """What is wrong with one event: `path` names known members only, and no text repeats a value."""

    code: RejectionCode
    message: str
    path: str | None = None


class Rejection(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """One line of `rejected` in an answer: the event's position in the batch, and its fault.

    The event's id is given only where the identity rules would leave it unchanged.
    """

    index: int
    code: RejectionCode
    message: str
    path: str | None = None
    event_id: str | None = None
