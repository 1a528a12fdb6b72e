"""Identify: personal identifiers become digests, addresses and device ids go; after this stage none is left.

`normalize.identify` holds the rules and walks every member of every event. This module gives the same result for less:
most events have no member that a rule names and no text that could hold an address, and both can be told without a walk
over every string. What it does not know for certain it leaves to the walk. A law in `tests/property` holds both to
the same result.

The shape of the code is its speed: one comprehension per object picks the few members that need a look, names are
looked up in a learned table, and text is searched once per event, in the bytes that would leave the process. Since
these are our own encoding of decoded text, no escape can hide a character from the search.
"""

from typing import Any, Final

import msgspec

import normalize
from ingest.event import Identified, JsonObject, ValidEvent
from ingest.outcome import Fault, RejectionCode
from ingest.pipeline.validate import is_date_time
from normalize import Family, Note, OwnAddresses
from normalize.query import advertising_values
from normalize.scrub import Scrubber

MARKS_OWN: Final = 128
"""Places in its texts that every event may have looked at, so that none is refused because of its neighbours."""

MARKS_SHARED: Final = 30_000
"""Places beyond those, for all events of a batch together: with them a batch costs less than a second of work."""

IDS_MAX: Final = 32
"""Advertising ids of one event at most: each is looked for in all of it."""

UNEXPECTED_TYPE: Final = "unexpected_type"
_NAMES_MAX: Final = 4096  # learned names; bounded, because clients make them up
_NAME_CHARS_MAX: Final = 64

_TEXT: Final = frozenset(
    "environment platform os_version app_version device_model locale build_number screen_size timezone install_source "
    "campaign_hint referrer referrer_source utm_source utm_medium utm_campaign utm_content utm_term click_id_param "
    "gclid deeplink_id att_status country_code subdivision1_code".split()
)
_IDS: Final = frozenset("session_id install_id app_user_id user_id anonymous_id group_id".split())
_TYPED: Final = _TEXT | _IDS
_NO_MEMBERS: Final[JsonObject] = {}

_NONE: Final[frozenset[str]] = frozenset()
_DIGEST_CHARS: Final = 64
_MARKS: Final = ("=", "@", "+", "%3d", "%40", "%2b", "%25")
_ID_START_CHARS: Final = 8
_ZEROS: Final = "000000000000"  # the end of an all-zero id, with dashes or without
_WIDE_PLUS: Final = "\uff0b"

_plain: set[str] = set()  # names of no family
_marks: dict[str, str] = {}  # the others: the note of their removal, or one of the three below
_EMAIL: Final = "email"
_PHONE: Final = "phone"
_WALK: Final = "walk"
_ADVERTISING: Final = Note.ADVERTISING_ID_REMOVED
_REMOVED: Final[dict[Family, str]] = {
    Family.ADDRESS: Note.ADDRESS_REMOVED,
    Family.ADVERTISING: _ADVERTISING,
    Family.HARDWARE: Note.HARDWARE_ID_REMOVED,
}

_encoder = msgspec.json.Encoder()
_encode_into = _encoder.encode_into
_scratch = bytearray(4096)  # one buffer for all events: growing a new one costs as much as the encoding


class Budget:
    """How many places may still be looked at in the texts of a batch; each costs some microseconds."""

    __slots__ = ("_shared_left",)

    def __init__(self) -> None:
        self._shared_left = MARKS_SHARED

    def spend(self, marks: int) -> bool:
        """Take what an event needs beyond its own share; False, with nothing taken, where that is too much."""
        beyond = marks - MARKS_OWN
        if beyond > self._shared_left:
            return False
        self._shared_left -= max(0, beyond)
        return True


class _NotSimpleError(Exception):
    """The object holds what only the full walk decides."""


class _TooDeepError(Exception):
    """The event is nested beyond the bound."""


def identify(
    event: ValidEvent,
    own: OwnAddresses,
    *,
    bytes_max: int,
    nesting_max: int,
    budget: Budget | None = None,
    hunted_too: tuple[str, ...] = (),
) -> Identified | Fault:
    """Return `event` under the identity rules, or its fault: too large as JSON in bytes, nested too deeply, too dense.

    `budget` is shared by the events of a batch; without one the event has a whole one to itself. `hunted_too` are
    advertising ids that stood beside the event. The members of `event` may be changed in place.
    """
    notes: list[str] = []
    hunted: list[str] = [*hunted_too]
    simple = True
    try:
        _apply(event, _TYPED, notes, hunted, nesting_max)
    except _NotSimpleError:
        # What was changed so far the walk would have changed alike, so it goes on from here.
        simple = False
        notes = [note for note in notes if note != UNEXPECTED_TYPE] + _unexpected(event)
        if _deeper_than(nesting_max, event):
            return _refused(_TOO_DEEP, event, own, hunted)
    except _TooDeepError:
        return _refused(_TOO_DEEP, event, own, hunted)
    _encode_into(event, _scratch)
    if len(_scratch) > bytes_max:
        return _refused(_TOO_LARGE, event, own, hunted)
    if type(event.get("properties", _NO_MEMBERS)) is not dict and event["properties"] is not None:
        notes.append(UNEXPECTED_TYPE)
    text = _scratch.lower().decode()
    if len(hunted) > IDS_MAX:
        return _refused(TOO_DENSE, event, own, hunted)
    walk = not simple or _holds_id(text, own, hunted)
    if not walk and not ("@" in text or "%" in text or "+" in text or "=" in text):
        return Identified(event, bytes(_scratch), tuple(notes) if len(notes) < 2 else _ordered(notes))
    if not (budget or Budget()).spend(_marks_of(text)):
        return _refused(TOO_DENSE, event, own, hunted)
    clean: JsonObject = event
    if walk or not _scrub_marked(event, own, hunted, notes):
        clean, found = normalize.identify(event, own, hunted=tuple(hunted))
        notes += found
        if "timestamp" in clean and is_date_time(event.get("timestamp")):
            clean["timestamp"] = event["timestamp"]  # kept as sent: zeros of its fraction are no advertising id
    if Note.TEXT_TOO_DENSE in notes:
        return _refused(TOO_DENSE, event, own, hunted)
    json = _encoder.encode(clean)
    if len(json) > bytes_max:  # a digest may be longer than what it stands for
        return _refused(_TOO_LARGE, event, own, hunted)
    return Identified(clean, json, _ordered(notes))


def with_members(identified: Identified, members: JsonObject) -> Identified:
    """Return an event with further members, of which it is known that no rule applies to them."""
    event = identified.event | members
    return Identified(event, _encoder.encode(event), identified.notes)


def marks_in(event: Any) -> int:
    """Count the places in the texts of an event, or of what is none, that a look through it has to stop at."""
    return _marks_of(_encoder.encode(event).lower().decode())


def _marks_of(text: str) -> int:
    return sum(map(text.count, _MARKS))


def _refused(fault: Fault, event: JsonObject, own: OwnAddresses, hunted: list[str]) -> Fault:
    """Take the event's id away if the rules would change it: with its event begun, nobody else could tell any more."""
    event_id = event.get("event_id")
    if type(event_id) is str and normalize.scrub_text(event_id, own, tuple(hunted))[0] != event_id:
        del event["event_id"]
    return fault


def _apply(members: JsonObject, typed: frozenset[str], notes: list[str], hunted: list[str], depth: int) -> None:
    """Apply the member rules to an object and what it holds, in place; collect advertising ids in `hunted`.

    `typed` are the members whose type is known.
    """
    if depth == 0:
        raise _TooDeepError
    plain = _plain
    marked: list[tuple[str, str, Any]] = []
    for name, value in members.items():
        kind = type(value)
        if name in plain:
            if kind is str:
                continue  # nearly all members end here
        elif (mark := _marks.get(name) or _mark(name)) is not None:
            marked.append((mark, name, value))
            continue
        if kind is dict:
            _apply(value, _NONE, notes, hunted, depth - 1)
        elif kind is list:
            _items(value, notes, hunted, depth - 1)
        if kind is not str and name in typed and _is_unexpected(name, value):
            notes.append(UNEXPECTED_TYPE)
    if marked:
        _apply_marked(members, marked, notes, hunted)


def _is_unexpected(name: str, value: Any) -> bool:
    """Tell whether a known member has a type that it should not have; null counts as absent, integers pass as ids."""
    return type(value) is not str and value is not None and (type(value) is not int or name in _TEXT)


def _unexpected(event: JsonObject) -> list[str]:
    return [UNEXPECTED_TYPE] if any(_is_unexpected(name, event[name]) for name in _TYPED & event.keys()) else []


def _items(items: list[Any], notes: list[str], hunted: list[str], depth: int) -> None:
    if depth == 0:
        raise _TooDeepError
    for value in items:
        kind = type(value)
        if kind is dict:
            _apply(value, _NONE, notes, hunted, depth - 1)
        elif kind is list:
            _items(value, notes, hunted, depth - 1)


def _apply_marked(members: JsonObject, marked: list[tuple[str, str, Any]], notes: list[str], hunted: list[str]) -> None:
    """Replace or remove the members of an object that belong to a family; all others leave the object to the walk."""
    email = phone = None
    for mark, name, value in marked:
        if mark is _WALK:
            raise _NotSimpleError
        if type(value) is str:
            if len(value) >= _DIGEST_CHARS or "=" in value or "%" in value:
                raise _NotSimpleError  # it may be a digest already, or a URL with parameters
            if mark is _EMAIL:
                email = value
            elif mark is _PHONE:
                phone = value
            else:
                if mark is _ADVERTISING:
                    if _ZEROS in value:
                        raise _NotSimpleError  # the walk tells an all-zero id from others
                    hunted.append(value)
                notes.append(mark)
                del members[name]
        elif value is not None and type(value) is not bool:
            raise _NotSimpleError
    if email is not None:
        del members["email"]
        digest = normalize.email_digest(email)
        if digest is None:
            notes.append(Note.EMAIL_UNUSABLE)
        else:
            members["email_sha256"] = digest
    if phone is not None:
        _replace_phone(members, phone, notes)


def _replace_phone(members: JsonObject, phone: str, notes: list[str]) -> None:
    del members["phone"]
    digests = normalize.phone_digests(phone)
    if digests is None:
        notes.append(Note.PHONE_UNUSABLE)
        return
    plain, e164, national = digests
    members["phone_sha256"] = plain
    if e164 is not None:
        members["phone_e164_sha256"] = e164
    if national is not None:
        members["phone_national_sha256"] = national


def _mark(name: str) -> str | None:
    """Return what a member's name asks for, None for nothing; learn it, if it is not longer than names are."""
    family = normalize.family(name)
    mark: str | None = None
    if family is not None:
        simple = "." not in name and "[" not in name
        mark = _REMOVED.get(family) if simple else _WALK
        if mark is None:
            mark = _EMAIL if name == _EMAIL else _PHONE if name == _PHONE else _WALK
    # Only what can be no more than a name is remembered: a key may hold somebody's address.
    if normalize.is_plain(name) if mark is None else name.isidentifier() and len(name) <= _NAME_CHARS_MAX:
        if len(_plain) + len(_marks) >= _NAMES_MAX:
            _plain.clear()
            _marks.clear()
        if mark is None:
            _plain.add(name)
        else:
            _marks[name] = mark
    return mark


def _holds_id(text: str, own: OwnAddresses, hunted: list[str]) -> bool:
    """Tell whether the encoded event, in lower case, may hold an address or device id that only the walk cuts out.

    Searching a `str` costs half of searching bytes, and folding bytes a tenth of folding a `str`.
    """
    if _ZEROS in text or _WIDE_PLUS in text:
        return True
    for needle in own.needles:
        if needle in text:
            return True
    for value in hunted:
        # All spellings of an id begin alike, whether with dashes or without.
        start = value.strip()[:_ID_START_CHARS].lower()
        if not start.isascii() or not start.replace("-", "0").isalnum() or start in text:
            return True
    return False


def _scrub_marked(event: JsonObject, own: OwnAddresses, hunted: list[str], notes: list[str]) -> bool:
    """Apply the string rule, in place, to the texts with a mark of what it changes; False leaves all to the walk.

    Most such texts are URLs. Names of members with a mark, and advertising ids in a URL, concern the whole event: then
    nothing may be changed here, or the walk would not find the id that it has to look for elsewhere.
    """
    containers: list[Any] = [event]
    marked: list[tuple[Any, Any, str]] = []
    for container in containers:
        for key, value in container.items() if type(container) is dict else enumerate(container):
            kind = type(value)
            if kind is str:
                if ("=" in value or "%" in value or "@" in value or "+" in value) and key not in normalize.EXEMPT:
                    if advertising_values(value):
                        return False
                    marked.append((container, key, value))
            elif kind is dict or kind is list:
                containers.append(value)
            if type(key) is str and ("=" in key or "%" in key or "@" in key or "+" in key):
                return False
    scrub = Scrubber(own, hunted)
    for container, key, value in marked:
        container[key] = scrub(value)
    notes += scrub.notes
    return True


def _ordered(notes: list[str]) -> tuple[str, ...]:
    return tuple(sorted(set(notes)))


def _deeper_than(nesting_max: int, value: Any) -> bool:
    level = [value]
    for _ in range(nesting_max):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return False
    return True


_TOO_DEEP: Final = Fault(RejectionCode.INVALID_VALUE, "The event is nested too deeply.")
TOO_DENSE: Final = Fault(
    RejectionCode.INVALID_VALUE, "The texts hold more addresses and parameters than are looked through."
)
_TOO_LARGE: Final = Fault(RejectionCode.TOO_LARGE, "The event is larger than an event may be.")
