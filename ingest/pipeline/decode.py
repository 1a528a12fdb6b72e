"""Decode: bytes become a batch, and one event that cannot be decoded does not cost its neighbours."""

import re
from typing import Any, Final

import msgspec

from ingest.errors import Code, Refusal
from ingest.event import Decoded, JsonObject
from ingest.outcome import Fault, RejectionCode

_decode = msgspec.json.Decoder().decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode

# An escape is a pair of surrogates, a lone surrogate (1), the replacement character (2), or anything else.
_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|(u[fF]{3}[dD])|.)",
    re.DOTALL,
)
_REPLACEMENT: Final = rb"\ufffd"
_UNDECODABLE: Final = (msgspec.MsgspecError, RecursionError, ValueError)


def decode(body: bytes, *, events_max: int) -> Decoded:
    """Return the batch in `body`.

    Raises `Refusal` with `INVALID_JSON` where the body as a whole is not JSON, `INVALID_BATCH` where it has no
    non-empty array `events`, and `PAYLOAD_TOO_LARGE` where that holds more than `events_max`.
    """
    try:
        root = _decode(body)
    except _UNDECODABLE:
        return _decode_one_by_one(body, events_max)
    if type(root) is not dict:
        raise Refusal(Code.INVALID_BATCH)
    return _batch(root, _checked(root.pop("events", None), events_max))


def decode_one(body: bytes) -> Decoded:
    """Return the one JSON value in `body`, which is no event, as a batch that holds nothing else.

    Raises `Refusal` with `INVALID_JSON` where the body is not JSON.
    """
    try:
        return _alone(_decode(body))
    except _UNDECODABLE:
        body = _ESCAPE.sub(_repair, body)
    try:
        _decode_members(body)
    except _UNDECODABLE as error:
        raise Refusal(Code.INVALID_JSON) from error
    return _alone(_decode_part(body), frozenset((0,) if _repairs(body) else ()))


def _alone(value: Any, repaired: frozenset[int] = frozenset()) -> Decoded:
    app_id = value.get("app_id") if type(value) is dict else None
    return Decoded([value], _id(app_id) or None, None, None, {}, repaired)


def _checked(events: Any, events_max: int) -> list[Any]:
    if type(events) is not list or not events:
        raise Refusal(Code.INVALID_BATCH)
    if len(events) > events_max:
        raise Refusal(Code.PAYLOAD_TOO_LARGE, details={"limit": "events", "max": events_max})
    return events


def _batch(root: JsonObject, events: list[Any], repaired: frozenset[int] = frozenset()) -> Decoded:
    first = events[0]
    app_id = root.pop("app_id", None)
    if (app_id is None or app_id == "") and type(first) is dict:
        app_id = first.get("app_id")
    return Decoded(events, _id(app_id) or None, _take(root, "batch_id"), _take(root, "sent_at"), root, repaired)


def _take(root: JsonObject, name: str) -> str | None:
    """Take a text or an integer out of the root, and a null; what has another type stays there and is kept as it is."""
    value = root.get(name)
    text = _id(value)
    if text is not None or value is None:
        root.pop(name, None)
    return text


def _id(value: Any) -> str | None:
    """Return an id as text: an integer is as good as a string."""
    if type(value) is int:
        return str(value)
    text: str | None = value if type(value) is str else None
    return text


def _decode_one_by_one(body: bytes, events_max: int) -> Decoded:
    """Decode a body that has a fault somewhere: the envelope as raw parts, then each part by itself."""
    body = _ESCAPE.sub(_repair, body)
    try:
        parts = _decode_members(body)
        items = _decode_items(parts.pop("events")) if "events" in parts else []
    except msgspec.ValidationError as error:
        raise Refusal(Code.INVALID_BATCH) from error
    except _UNDECODABLE as error:
        raise Refusal(Code.INVALID_JSON) from error
    raw = [bytes(item) for item in _checked(items, events_max)]
    root = {name: _decode_part(bytes(part)) for name, part in parts.items()}
    repairs = [_repairs(item) for item in raw]
    is_root_repaired = _repairs(body) > sum(repairs)
    repaired = frozenset(index for index, count in enumerate(repairs) if count or is_root_repaired)
    return _batch(root, [_decode_part(item) for item in raw], repaired)


def _repair(escape: re.Match[bytes]) -> bytes:
    """Replace a lone surrogate by the escape of U+FFFD, which the client's own U+FFFD give up to be told apart."""
    if escape[1]:
        return _REPLACEMENT
    return "\ufffd".encode() if escape[2] else escape[0]


def _repairs(raw: bytes) -> int:
    return sum(escape[0] == _REPLACEMENT for escape in _ESCAPE.finditer(raw)) if _REPLACEMENT in raw else 0


def _decode_part(raw: bytes) -> Any:
    """Return the value, or the `Fault` that keeps it from being one."""
    try:
        return _decode(raw)
    except RecursionError:
        return Fault(RejectionCode.INVALID_VALUE, "The event is nested too deeply.")
    except UnicodeDecodeError:
        return Fault(RejectionCode.INVALID_VALUE, "The event holds text that is not UTF-8.")
    except _UNDECODABLE:
        return Fault(RejectionCode.INVALID_VALUE, "The event holds a number that cannot be represented.")
