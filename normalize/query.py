"""Parameters of URLs and of bare query strings, by the rules for members."""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple
from urllib.parse import quote

from normalize.canonical import digests_of
from normalize.free_text import phone_end
from normalize.members import Canonical, Family, Member, match
from normalize.notes import Note, Notes
from normalize.percent import Edit, View, unquoted, views

PARAMETERS_MAX: Final = 256
"""Parameters of a family that are looked at in one text; one with more is cut out whole."""

_words = re.compile(r"[^?&#;\s\"<>]++").finditer
_stop = re.compile(r"[?&#;\s\"<>]").search
_BEFORE, _AFTER = "?&#;", "&;"

REMOVED = {
    Family.ADDRESS: Note.ADDRESS_REMOVED,
    Family.ADVERTISING: Note.ADVERTISING_ID_REMOVED,
    Family.HARDWARE: Note.HARDWARE_ID_REMOVED,
}
"""The families whose members are removed, and the note that says so."""
UNUSABLE = {Family.EMAIL: Note.EMAIL_UNUSABLE, Family.PHONE: Note.PHONE_UNUSABLE}
"""The families whose members are hashed, and the note for one that holds nothing to hash."""


class Parameter(NamedTuple):
    """A `name=value` in a text, whose name belongs to a family.

    The pair stands from `start` to `end`, its value from `value`; `part` is where the name's part that belongs to the
    family stands.
    """

    member: Member
    start: int
    part: tuple[int, int]
    value: int
    end: int


def parameters(text: str) -> Iterator[Parameter]:
    """Find the parameters that belong to a family, names encoded, dotted or with brackets included.

    >>> text = "https://example.com/?a=1&user%5Bemail%5D=ann"
    >>> [text[found.start:found.end] for found in parameters(text)]
    ['user%5Bemail%5D=ann']
    """
    if "=" not in text:
        return
    for word in _words(text):
        name, equals, _ = word[0].partition("=")
        if not equals or "/" in name or ":" in name:
            continue
        start, value, end = word.start(), word.start() + len(name) + 1, word.end()
        decoded = views(name)[-1]
        member = match(decoded.text)
        if member is None:
            continue
        if member.family is Family.PHONE and text.startswith("+", value):
            stop = _stop(text, max(end, phone_end(text, value)))  # spaces do not end a phone number
            end = stop.start() if stop else len(text)
        part = (start + decoded.source(member.start), start + decoded.source(member.end))
        yield Parameter(member, start, part, value, end)


def advertising_values(text: str) -> list[str]:
    """Return the values of advertising id parameters at every level of encoding, among the first `PARAMETERS_MAX`."""
    return [
        unquoted(view.text[found.value : found.end])
        for view in views(text)
        for found in islice(parameters(view.text), PARAMETERS_MAX)
        if found.member.family is Family.ADVERTISING
    ]


def query_edits(view: View, notes: Notes, edits_max: int) -> list[Edit]:
    """Hash e-mail and phone parameters in place, and cut the others that belong to a family with their separator.

    More than `edits_max` edits tell that there are too many, or too many parameters; what they are does not count then.
    """
    edits: list[Edit] = []
    done = 0
    for number, found in enumerate(parameters(view.text)):
        if number >= PARAMETERS_MAX or len(edits) > edits_max:
            return [Edit(0, len(view.text), "")] * (edits_max + 1)
        if min(found.start, found.part[0]) < done:
            continue  # swallowed by a phone number before it; a further round looks again
        done = found.end
        canonical = found.member.canonical
        digests = digests_of(canonical, unquoted(view.text[found.value : found.end])) if canonical else {}
        if digests:
            hashed = _hashed(view, found, digests)
            if any(view.text[edit.start : edit.end] != edit.text for edit in hashed):
                notes[Note.TEXT_SCRUBBED] = None
                edits += hashed
        else:
            notes[(REMOVED | UNUSABLE)[found.member.family]] = None
            done = _cut(view.text, found, edits)
    return edits


def _hashed(view: View, found: Parameter, digests: dict[Canonical, str]) -> list[Edit]:
    """Rename the parameter's part and replace its value; further digests follow as parameters of their own."""
    before, after = view.text[found.start : found.part[0]], view.text[found.part[1] : found.value - 1]
    first, *others = digests
    text = digests[first]
    for other in others:
        text += _encoded("&", view.level) + before + other + after + _encoded("=", view.level) + digests[other]
    return [Edit(*found.part, first), Edit(found.value, found.end, text)]


def _encoded(char: str, level: int) -> str:
    for _ in range(level):
        char = quote(char, safe="")
    return char


def _cut(text: str, found: Parameter, edits: list[Edit]) -> int:
    """Cut a parameter with the separator after it, or, when it is the last one, before it. Returns the cut's end."""
    start, end = found.start, found.end
    if edits and edits[-1].end == start and not edits[-1].text:
        start = edits.pop().start
    if text[end : end + 1] in _AFTER and end < len(text):
        end += 1
    elif start and text[start - 1] in _BEFORE:
        start -= 1
    edits.append(Edit(start, end, ""))
    return end
