"""The whole object: every member at every depth by its family, every other text by the rule for texts.

This is the reference for the rules. A faster way that gives the same result may stand beside it.
"""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from normalize.address import NONE, OwnAddresses
from normalize.canonical import digests_of
from normalize.device import zero_id_spans
from normalize.members import EXEMPT, Canonical, Family, is_plain, match
from normalize.notes import Note, Notes
from normalize.query import REMOVED, UNUSABLE, advertising_values
from normalize.scrub import Scrubber

Digests = dict[Canonical, str | list[str]]
_Pending = list[tuple[Any, Any]]

_MAY_HOLD_TEXT: Final = (str, dict, list)
_EXACT_NAMES: Final = frozenset({"email", "phone"})


class Identified(NamedTuple):
    """A JSON value in which identifiers are digests or gone, and what was removed or changed on the way."""

    value: Any
    notes: tuple[Note, ...]


def identify(value: Any, own: OwnAddresses = NONE, hunted: tuple[str, ...] = ()) -> Identified:
    """Return a copy of a decoded JSON `value` that may be kept. `own` are the client's addresses.

    `hunted` are advertising ids that stood in `value` and have been taken out of it already.

    Members that are not concerned keep their values and order; digests stand at the end of their object. Nothing
    raises, whatever the value holds and however deep it is, and a second time changes nothing.

    >>> event = {"event": "login", "email": " Ann@Example.com", "ip": "203.0.113.7", "user_id": "ann@example.com"}
    >>> found = identify(event)
    >>> sorted(found.value), [str(note) for note in found.notes]
    (['email_sha256', 'event', 'user_id'], ['address_removed'])
    """
    scrub = Scrubber(own, (*hunted, *advertising_ids(value)))
    holder: list[Any] = []
    pending: _Pending = [([value], holder)]
    for source, target in pending:  # grows while it is read, so that depth costs no stack
        if isinstance(source, dict):
            _Object(source, target, pending, scrub).fill()
        else:
            target += [_copied(item, pending, scrub) for item in source]
    return Identified(holder[0], tuple(scrub.notes))


def advertising_ids(value: Any) -> tuple[str, ...]:
    """Return the texts of all advertising id members and parameters in a decoded JSON `value`.

    >>> advertising_ids({"device": {"IDFA": "6D92"}, "url": "https://example.com/?gaid=38400"})
    ('38400', '6D92')
    """
    found: list[str] = []
    pending = [value]
    for container in pending:
        for name, item in _items(container):
            if not isinstance(item, _MAY_HOLD_TEXT):
                continue
            member = match(name)
            if member and member.family is Family.ADVERTISING:
                found += _texts(item)
            elif not isinstance(item, str):
                pending.append(item)
            elif ("=" in item or "%" in item) and name not in EXEMPT:
                found += advertising_values(item)
    return tuple(found)


def _items(container: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(container, dict):
        return container.items()
    return [("", item) for item in container] if isinstance(container, list) else [("", container)]


def _texts(value: Any) -> list[str]:
    """Return every string in a value, at any depth."""
    found: list[str] = []
    pending = [value]
    for container in pending:
        for _, item in _items(container):
            if isinstance(item, str):
                found.append(item)
            elif isinstance(item, dict | list):
                pending.append(item)
    return found


def _copied(item: Any, pending: _Pending, scrub: Scrubber) -> Any:
    """Return a text as it may be kept, a number as it is, and an empty container that is filled later."""
    if isinstance(item, str):
        return scrub(item)
    if isinstance(item, dict | list):
        fresh: dict[str, Any] | list[Any] = {} if isinstance(item, dict) else []
        pending.append((item, fresh))
        return fresh
    return item


class _Object:
    """One object on its way from `source` to `target`."""

    def __init__(self, source: dict[str, Any], target: dict[str, Any], pending: _Pending, scrub: Scrubber) -> None:
        self._source = source
        self._target = target
        self._pending = pending
        self._scrub = scrub
        self._hashed: dict[Canonical, list[tuple[str, Any]]] = {}

    def fill(self) -> None:
        for name, value in self._source.items():
            if name in EXEMPT and not isinstance(value, dict | list):
                self._put(name, value)
                continue
            plain = is_plain(name) and not self._scrub.searches_names
            key = name if plain else self._scrub(name)
            member = None if plain else match(key)
            if key is not name and key != name and key in self._source:
                self._scrub.notes[Note.MEMBER_COLLISION] = None  # what was sent under this name is worth more
                _copied(value, self._pending, self._scrub)  # for its notes
            elif member is None:
                self._put(key, _copied(value, self._pending, self._scrub))
            elif value is None or isinstance(value, bool):
                self._put(key, value)
            elif member.canonical is None:
                self._note_removed(member.family, value)
            elif member.end - member.start == len(key):
                self._hashed.setdefault(member.canonical, []).append((key, value))
            else:
                for canonical, digest in _digests(member.canonical, value, self._scrub.notes).items():
                    self._put_digest(key[: member.start] + canonical + key[member.end :], digest)
        if self._hashed:
            self._append_digests()

    def _put(self, key: str, value: Any) -> None:
        if key in self._target:
            self._scrub.notes[Note.MEMBER_COLLISION] = None
        self._target[key] = value

    def _put_digest(self, key: str, digest: str | list[str]) -> None:
        """Keep the first digest under a name with parts; a different later one is told."""
        if key in self._target and self._target[key] != digest:
            self._scrub.notes[Note.DIGEST_CONFLICT] = None
        self._target.setdefault(key, digest)

    def _note_removed(self, family: Family, value: Any) -> None:
        self._scrub.notes[REMOVED[family]] = None
        if family is Family.ADVERTISING and isinstance(value, str) and next(zero_id_spans(value), None):
            self._scrub.notes[Note.ZERO_ID_REMOVED] = None

    def _append_digests(self) -> None:
        notes = self._scrub.notes
        kept: Digests = {}
        # Forms that were derived here come before those that were sent, so the families of raw values go first.
        for canonical in Canonical:
            members = self._hashed.get(canonical, ())
            for _, value in sorted(members, key=lambda member: member[0] not in _EXACT_NAMES):
                _merge(kept, canonical, _digests(canonical, value, notes), notes)
        for canonical in Canonical:
            if canonical in kept:
                self._target.pop(canonical, None)
                self._target[canonical.value] = kept[canonical]


def _merge(kept: Digests, canonical: Canonical, digests: Digests, notes: Notes) -> None:
    """Keep the first digests of a family; what a later member adds to the same number is kept too."""
    if canonical in kept and canonical in digests and not _as_set(digests[canonical]) <= _as_set(kept[canonical]):
        notes[Note.DIGEST_CONFLICT] = None
        return
    if canonical in kept and kept[canonical] != digests.get(canonical):
        return
    for name, digest in digests.items():
        kept.setdefault(name, digest)


def _as_set(digest: str | list[str]) -> set[str]:
    return {digest} if isinstance(digest, str) else set(digest)


def _digests(canonical: Canonical, value: Any, notes: Notes) -> Digests:
    """Return the digests of a member's value: one each, or one array each for an array of texts or of integers."""
    family = Family.EMAIL if canonical is Canonical.EMAIL else Family.PHONE
    if isinstance(value, list):
        arrays: dict[Canonical, list[str]] = {}
        for item in value if _is_uniform(value) else ():
            digests = digests_of(canonical, item)
            if not digests:
                notes[UNUSABLE[family]] = None
            for name, digest in digests.items():
                arrays.setdefault(name, []).append(digest)
        if not arrays:
            notes[UNUSABLE[family]] = None
        return dict(arrays)
    single = digests_of(canonical, value) if isinstance(value, str | int) else {}
    if not single:
        notes[UNUSABLE[family]] = None
    return dict(single)


def _is_uniform(items: list[Any]) -> bool:
    """Tell whether all items are texts, or all are integers."""
    return all(isinstance(item, str) for item in items) or all(
        isinstance(item, int) and not isinstance(item, bool) for item in items
    )
