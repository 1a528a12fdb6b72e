"""Identify: personal identifiers become digests, addresses and device ids go; after this stage none is left.

`normalize.identify` holds the rules and walks every member of every event. This module gives the same result for less:
most events have no member that a rule names and no text that could hold an address, and both can be told without a walk
over every string. What it does not know for certain it leaves to the walk. A law in `tests/property` holds both together.

The shape of the code is its speed: one comprehension per object picks the few members that need a look, names are
looked up in a learned table, and text is searched once per event, in the bytes that would leave the process. Since
these are our own encoding of decoded text, no escape can hide a character from the search.
"""

from typing import Any, Final

import msgspec

import normalize
from ingest.event import Identified, JsonObject, ValidEvent
from ingest.outcome import Fault, RejectionCode
from normalize import Family, Note, OwnAddresses

UNEXPECTED_TYPE: Final = "unexpected_type"
_NAMES_MAX: Final = 4096  # learned names; bounded, because clients make them up
_NAME_CHARS_MAX: Final = 64

_TEXT: Final = frozenset(
    "environment platform os_version app_version device_model locale build_number screen_size timezone install_source "
    "campaign_hint referrer referrer_source utm_source utm_medium utm_campaign utm_content utm_term click_id_param "
    "gclid deeplink_id att_status country_code subdivision1_code".split()
)
_IDS: Final = frozenset("session_id install_id app_user_id user_id anonymous_id group_id".split())
_TYPED: Final = _TEXT | _IDS | {"properties"}

_SCALARS: Final = frozenset((str, int, float, bool, type(None)))
_DIGEST_CHARS: Final = 64
_ID_START_CHARS: Final = 8
_WIDE_PLUS: Final = "\uff0b".encode()
_MARKS: Final = tuple(mark for mark in normalize.SUSPECT if mark != _WIDE_PLUS)

_plain: set[str] = set()  # names of no family
_families: dict[str, Family] = {}  # names of one, spelled without brackets or dots

_encoder = msgspec.json.Encoder()
_encode_into = _encoder.encode_into
_scratch = bytearray(4096)  # one buffer for all events: growing a new one costs as much as the encoding


class _NotSimpleError(Exception):
    """The object holds what only the full walk decides."""


class _TooDeepError(Exception):
    """The event is nested beyond the bound."""


def identify(event: ValidEvent, own: OwnAddresses, *, bytes_max: int, nesting_max: int) -> Identified | Fault:
    """Return `event` under the identity rules, or its fault: too large as JSON in bytes, or nested too deeply.

    The members of `event` may be changed in place.
    """
    notes: list[str] = []
    hunted: list[str] = []
    odd = [(n, v) for n, v in event.items() if v.__class__ is not str or n not in _plain]
    simple = True
    try:
        _apply(event, odd, notes, hunted, nesting_max)
    except _NotSimpleError:
        # What was changed so far the walk would have changed alike, so it goes on from here.
        simple = False
        if _deeper_than(nesting_max, event):
            return _TOO_DEEP
    except _TooDeepError:
        return _TOO_DEEP
    _encode_into(event, _scratch)
    if len(_scratch) > bytes_max:
        return _TOO_LARGE
    for name, value in odd:
        if name in _TYPED and _is_unexpected(name, value):
            notes.append(UNEXPECTED_TYPE)
    if simple and not _suspicious(own, hunted):
        return Identified(event, bytes(_scratch), tuple(notes) if len(notes) < 2 else _ordered(notes))
    walked = normalize.identify(event, own, hunted=tuple(hunted))
    text = _encoder.encode(walked.value)
    if len(text) > bytes_max:
        return _TOO_LARGE
    return Identified(walked.value, text, _ordered([*notes, *walked.notes]))


def _apply(members: JsonObject, odd: list[tuple[str, Any]], notes: list[str], hunted: list[str], depth: int) -> None:
    """Apply the member rules to an object and what it holds, in place; collect advertising ids in `hunted`.

    `odd` are the members that need a look: those with a name of a family or a new one, and those that are no text.
    """
    if depth == 0:
        raise _TooDeepError
    email = phone = None
    for name, value in odd:
        kind = value.__class__
        if name in _plain or (family := _families.get(name) or _family(name)) is None:
            if kind is dict:
                inner = [(n, v) for n, v in value.items() if v.__class__ not in _SCALARS or n not in _plain]
                _apply(value, inner, notes, hunted, depth - 1)
            elif kind is list:
                _items(value, notes, hunted, depth - 1)
        elif kind is str:
            if name == "email":
                email = value
            elif name == "phone":
                phone = value
            elif family in _REMOVED:
                if family is Family.ADVERTISING:
                    hunted.append(value)
                notes.append(_REMOVED[family])
                del members[name]
            else:
                raise _NotSimpleError
        elif value is not None and kind is not bool:
            raise _NotSimpleError
    if email is not None:
        _digest_email(members, email, notes)
    if phone is not None:
        _digest_phone(members, phone, notes)


def _items(items: list[Any], notes: list[str], hunted: list[str], depth: int) -> None:
    if depth == 0:
        raise _TooDeepError
    for value in items:
        if value.__class__ is dict:
            inner = [(n, v) for n, v in value.items() if v.__class__ not in _SCALARS or n not in _plain]
            _apply(value, inner, notes, hunted, depth - 1)
        elif value.__class__ is list:
            _items(value, notes, hunted, depth - 1)


def _digest_email(members: JsonObject, email: str, notes: list[str]) -> None:
    if len(email) >= _DIGEST_CHARS:
        raise _NotSimpleError  # it may be a digest already
    del members["email"]
    digest = normalize.email_digest(email)
    if digest is None:
        notes.append(Note.EMAIL_UNUSABLE)
    else:
        members["email_sha256"] = digest


def _digest_phone(members: JsonObject, phone: str, notes: list[str]) -> None:
    if len(phone) >= _DIGEST_CHARS:
        raise _NotSimpleError
    del members["phone"]
    digests = normalize.phone_digests(phone)
    if digests is None:
        notes.append(Note.PHONE_UNUSABLE)
        return
    members["phone_sha256"] = digests.digits
    if digests.e164 is not None:
        members["phone_e164_sha256"] = digests.e164
    if digests.national is not None:
        members["phone_national_sha256"] = digests.national


def _family(name: str) -> Family | None:
    """Return the family of a member's name, learning it; raise where it needs more than a look at the whole name."""
    family = normalize.family(name)
    if family is not None and ("." in name or "[" in name):
        raise _NotSimpleError
    if len(name) <= _NAME_CHARS_MAX:
        if len(_plain) + len(_families) >= _NAMES_MAX:
            _plain.clear()
            _families.clear()
        if family is None:
            _plain.add(name)
        else:
            _families[name] = family
    return family


def _suspicious(own: OwnAddresses, hunted: list[str]) -> bool:
    """Tell whether the encoded event may hold text that the string rule would change."""
    text = _scratch
    for mark in _MARKS:
        if mark in text:
            return True
    if not text.isascii() and _WIDE_PLUS in text:
        return True
    if own.needles or hunted:
        folded = text.lower()
        for needle in own.needles:
            if needle in folded:
                return True
        for value in hunted:
            # All spellings of an id begin alike, whether with dashes or without.
            start = value.strip()[:_ID_START_CHARS].lower()
            if not start.isascii() or not start.replace("-", "0").isalnum() or start.encode() in folded:
                return True
    return False


def _is_unexpected(name: str, value: Any) -> bool:
    """Tell whether a known member has a type that it should not have; null counts as absent, integers pass as ids."""
    kind = value.__class__
    if kind is str or value is None:
        return False
    return kind is not dict if name == "properties" else name in _TEXT or kind is not int


def _ordered(notes: list[str]) -> tuple[str, ...]:
    return tuple(sorted(set(notes)))


def _deeper_than(nesting_max: int, value: Any) -> bool:
    level = [value]
    for _ in range(nesting_max):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if outer.__class__ is dict else outer)
            if inner.__class__ is dict or inner.__class__ is list
        ]
        if not level:
            return False
    return True


_REMOVED: Final = {
    Family.ADDRESS: Note.ADDRESS_REMOVED,
    Family.ADVERTISING: Note.ADVERTISING_ID_REMOVED,
    Family.HARDWARE: Note.HARDWARE_ID_REMOVED,
}
_TOO_DEEP: Final = Fault(RejectionCode.INVALID_VALUE, "The event is nested too deeply.")
_TOO_LARGE: Final = Fault(RejectionCode.TOO_LARGE, "The event is larger than an event may be.")
