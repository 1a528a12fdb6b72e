"""The rule for any text: what identifies and can be recognised in it is hashed or cut out in place."""

import re
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from normalize.address import OwnAddresses
from normalize.device import PART_CHARS_MIN, ascii_lower, hunted_forms, is_hex_run, zero_id_spans
from normalize.email import email_digest
from normalize.free_text import email_spans, phone_spans
from normalize.notes import Note, Notes
from normalize.percent import Edit, View, replaced, unquoted, views
from normalize.phone import phone_digests
from normalize.query import query_edits

SUSPECT: Final[tuple[bytes, ...]] = (b"@", b"%", b"+", b"\xef\xbc\x8b", b"=", b"00000000")
"""JSON in UTF-8 that holds none of these, and no `\\u` escape of an ASCII character, holds no text that is changed.

It says nothing of own addresses (see `OwnAddresses.needles`), of advertising ids taken out elsewhere, and of members.
"""

ROUNDS_MAX: Final = 4
"""How often a text is looked at again because a cut may have joined what stood around it."""

EDITS_MAX: Final = 1024
"""Places that are changed in the texts of one event at most. A text with more of them is cut out whole, so that what a
text costs is bounded by its length and this number, and not by what somebody made of it."""

HUNTED_MAX: Final = 96
"""Spellings of advertising ids that are looked for in the texts of one event; an id has at most three. With more of
them no text is kept, because each would have to be searched for each."""

_is_suspect = re.compile("|".join(re.escape(mark.decode()) for mark in SUSPECT)).search

_Finder = Callable[[View], list[Edit]]


class Scrubber:
    """Scrubs the texts of one event: knows what to look for, and collects the notes.

    `hunted` are the advertising ids that were taken out elsewhere in the event. They are cut out in any case; those
    shorter than 8 characters only where they are the whole text. `searches_names` tells whether one of them may stand
    in a plain member name.
    """

    def __init__(self, own: OwnAddresses, hunted: Iterable[str] = ()) -> None:
        forms = hunted_forms(hunted)
        self.notes: Notes = {}
        self._is_crowded = len(forms) > HUNTED_MAX
        forms = forms[:HUNTED_MAX]
        self._own = own
        self._needles = own.needles
        self._whole = frozenset(forms)
        self._parts = tuple([form for form in forms if len(form) >= PART_CHARS_MIN])
        self._shortest = len(forms[0]) if forms else 0
        self._cut = False
        self.edits_left = EDITS_MAX
        self.searches_names = any(not is_hex_run(form) for form in forms)
        self._finders: tuple[_Finder, ...] = (
            self._emails, self._own_addresses, self._zero_ids, self._hunted, self._phones
        )  # fmt: skip

    def __call__(self, text: str) -> str:
        """Return `text` as it may be kept. Never raises; takes linear time."""
        if self._is_crowded and text:
            self.notes[Note.TEXT_TOO_DENSE] = None
            return ""
        if not self._may_change(text):
            return text
        for _ in range(ROUNDS_MAX):
            if ascii_lower(text.strip()) in self._whole:
                self.notes[Note.ADVERTISING_ID_REMOVED] = None
                return ""
            self._cut = False
            text = self._round(text)
            if self.edits_left < 0:
                self.notes[Note.TEXT_TOO_DENSE] = None
                return ""
            if not self._cut:
                return text
        self.notes[Note.TEXT_SCRUBBED] = None
        return ""  # built so that every cut makes the next one: nothing of it is kept

    def _may_change(self, text: str) -> bool:
        if _is_suspect(text):
            return True
        # Most texts are too short for an id, and have neither the dots nor the colons of an address.
        if self._needles and ("." in text or ":" in text):
            lower = text.lower()
            if any(needle in lower for needle in self._needles):
                return True
        return self._shortest > 0 and len(text) >= self._shortest and self._holds_hunted(ascii_lower(text))

    def _holds_hunted(self, lower: str) -> bool:
        for part in self._parts:  # shortest first
            if len(part) > len(lower):
                break
            if part in lower:
                return True
        return lower.strip() in self._whole

    def _round(self, text: str) -> str:
        """Parameters first, from the outside in: a value ends where its own level says so. Then the rest, decoded."""
        levels = views(text)
        for level in range(len(levels)):
            if level < len(levels):
                text, levels = self._replaced(text, levels, level, self._parameters)
        for level in range(len(levels) - 1, -1, -1):
            for finder in self._finders:
                text, levels = self._replaced(text, levels, min(level, len(levels) - 1), finder)
        return text

    def _replaced(self, text: str, levels: list[View], level: int, finder: _Finder) -> tuple[str, list[View]]:
        edits = finder(levels[level]) if self.edits_left >= 0 else []
        if not edits:
            return text, levels
        self.edits_left -= len(edits)
        if self.edits_left < 0:
            return "", views("")
        self._cut = self._cut or any(not edit.text for edit in edits)
        text = replaced(text, levels[level], edits)
        return text, views(text)

    def _parameters(self, view: View) -> list[Edit]:
        return query_edits(view, self.notes, self.edits_left)

    def _emails(self, view: View) -> list[Edit]:
        edits = []
        for start, end in islice(email_spans(view.text), self.edits_left + 1):
            digest = email_digest(unquoted(view.text[start:end]))
            if digest is not None:
                edits.append(Edit(start, end, f"sha256:{digest}"))
        return self._noted(edits, Note.TEXT_SCRUBBED)

    def _phones(self, view: View) -> list[Edit]:
        edits = []
        for start, end in islice(phone_spans(view.text), self.edits_left + 1):
            digests = phone_digests(view.text[start:end])
            if digests is not None:
                edits.append(Edit(start, end, f"sha256:{digests.digits}"))
        return self._noted(edits, Note.TEXT_SCRUBBED)

    def _own_addresses(self, view: View) -> list[Edit]:
        edits = [Edit(start, end, "") for start, end in self._own.spans(view.text)]
        return self._noted(edits, Note.OWN_ADDRESS_REMOVED)

    def _zero_ids(self, view: View) -> list[Edit]:
        edits = [Edit(start, end, "") for start, end in zero_id_spans(view.text)]
        return self._noted(edits, Note.ZERO_ID_REMOVED)

    def _hunted(self, view: View) -> list[Edit]:
        lower = ascii_lower(view.text) if self._parts else ""
        spans = []
        for part in self._parts:
            start = lower.find(part)
            while start >= 0:
                spans.append((start, start + len(part)))
                start = lower.find(part, start + len(part))
        edits: list[Edit] = []
        for start, end in sorted(spans):
            if not edits or start >= edits[-1].end:
                edits.append(Edit(start, end, ""))
        return self._noted(edits, Note.ADVERTISING_ID_REMOVED)

    def _noted(self, edits: list[Edit], note: Note) -> list[Edit]:
        if edits:
            self.notes[note] = None
        return edits


def scrub_text(text: str, own: OwnAddresses, hunted: tuple[str, ...] = ()) -> tuple[str, tuple[Note, ...]]:
    """Return `text` as it may be kept, and what was done to it.

    E-mail addresses and phone numbers become `sha256:` and the digest of their normal form; parameters of URLs and
    query strings follow the rules for members; own addresses, all-zero ids and `hunted` values are cut out. All of
    that holds for percent-encoded text too, in place.

    >>> from normalize.address import NONE
    >>> scrub_text("write to ann@example.com!", NONE)[0][:19]
    'write to sha256:71d'
    >>> scrub_text("https://example.com/?ip=203.0.113.7&page=2", NONE)
    ('https://example.com/?page=2', (<Note.ADDRESS_REMOVED: 'address_removed'>,))
    """
    scrub = Scrubber(own, hunted)
    return scrub(text), tuple(scrub.notes)
