"""Which headers stand on which answers of the surface, for its description."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from ingest.errors import Code
from ingest.partner.operations import Operation


class HeaderValue(NamedTuple):
    """What a header holds, as JSON Schema, and whether it is `always` there."""

    description: str
    schema: Mapping[str, Any]
    always: bool = True


BEFORE_THE_KEY_IS_KNOWN: Final = frozenset(
    (
        Code.BAD_REQUEST,
        Code.BODY_TIMEOUT,
        Code.UNAUTHENTICATED,
        Code.INTERNAL,
        Code.UNAVAILABLE,
        Code.OVERLOADED,
    )
)
"""Codes that may also be given to somebody unknown, whose calls are not counted."""

_DERIVED_AGAIN: Final = frozenset((400, 413, 422))
"""Statuses of refusals that a repeat is answered with again."""

_SECONDS: Final = MappingProxyType({"type": "integer", "minimum": 0})
_REQUEST_ID: Final = HeaderValue(
    "The id of this request: the caller's own where it was `req_` and a ULID, or a UUID.",
    {
        "type": "string",
        "pattern": "^(?:req_[0-7][0-9A-HJKMNP-TV-Z]{25}|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})$",
    },
)
_RATE: Final = MappingProxyType(
    {
        "X-RateLimit-Limit": HeaderValue("Calls of this class in a minute.", {"type": "integer", "minimum": 1}),
        "X-RateLimit-Remaining": HeaderValue("Calls that are left.", {"type": "integer", "minimum": 0}),
        "X-RateLimit-Reset": HeaderValue("Seconds until a new minute begins.", _SECONDS),
    }
)
_REPLAYED: Final = HeaderValue("Stands on the answer to a repeat.", {"type": "string", "const": "true"}, always=False)
_RETRY_AFTER: Final = HeaderValue("Seconds to wait, drawn at random.", {"type": "integer", "minimum": 1})
_SCHEME: Final = HeaderValue("How to show who calls.", {"type": "string", "const": "Bearer"})
_LOCATION: Final = HeaderValue("The same place on `https`.", {"type": "string", "format": "uri"})


def answer_headers(operation: Operation) -> dict[str, HeaderValue]:
    """Return the headers of the answer where all went well."""
    replayed = {"Idempotency-Replayed": _REPLAYED} if operation.repeatable else {}
    return {"X-Request-Id": _REQUEST_ID, **_rate(operation, always=True), **replayed}


def error_headers(operation: Operation, codes: Sequence[Code]) -> dict[str, HeaderValue]:
    """Return the headers of refusals with one of `codes`, which share a status."""
    status = codes[0].value.status
    headers = {"X-Request-Id": _REQUEST_ID}
    if set(codes) - {Code.BAD_REQUEST, Code.UNAUTHENTICATED}:
        headers |= _rate(operation, always=BEFORE_THE_KEY_IS_KNOWN.isdisjoint(codes))
    waits = [code.value.retry_after_s is not None for code in codes]
    if any(waits):
        headers["Retry-After"] = _RETRY_AFTER._replace(always=all(waits))
    if status == Code.UNAUTHENTICATED.value.status:
        headers["WWW-Authenticate"] = _SCHEME
    if operation.repeatable and status in _DERIVED_AGAIN:
        headers["Idempotency-Replayed"] = _REPLAYED
    return headers


def redirect_headers() -> dict[str, HeaderValue]:
    """Return the headers of a redirect to HTTPS."""
    return {"X-Request-Id": _REQUEST_ID, "Location": _LOCATION}


def _rate(operation: Operation, *, always: bool) -> dict[str, HeaderValue]:
    endpoint_class = HeaderValue(
        "By which limit the call is counted.", {"type": "string", "const": operation.endpoint_class.value}
    )
    rate = {**_RATE, "X-RateLimit-Endpoint-Class": endpoint_class}
    return {name: value._replace(always=always) for name, value in rate.items()}
