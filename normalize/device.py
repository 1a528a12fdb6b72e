"""Advertising ids: the all-zero one, which everybody shares, and those that are looked for all over an event."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

ZERO_ID: Final = "00000000-0000-0000-0000-000000000000"
"""What platforms give out instead of an advertising id when it is denied."""

PART_CHARS_MIN: Final = 8
"""Length from which a value is looked for inside other texts; a shorter one only counts as a whole text."""

PLACEHOLDERS: Final = frozenset(
    {
        *("authorized", "denied", "restricted", "not_determined", "not_applicable", "unknown", "unavailable"),
        *("undefined", "none", "null", "nil", "nan", "n/a", "true", "false", "0", "1", "-1", "ios", "android"),
    }
)
"""Words that stand where an id should, and that identify nobody."""

_zero_ids = re.compile(r"(?<![0-9])0{8}-0{4}-0{4}-0{4}-0{12}(?![0-9])|(?<![0-9A-Za-z])0{32}(?![0-9A-Za-z])").finditer
_is_uuid = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}").fullmatch


def zero_id_spans(text: str) -> Iterator[tuple[int, int]]:
    """Find the all-zero id, with dashes or without, anywhere in `text`.

    >>> list(zero_id_spans("id " + ZERO_ID))
    [(3, 39)]
    """
    return (found.span() for found in _zero_ids(text)) if "00000000" in text else iter(())


def hunted_forms(values: Iterable[str]) -> tuple[str, ...]:
    """Return what to look for, in lower case and shortest first, so that none of `values` stays anywhere.

    An id with dashes is looked for without them too, and the other way round. White space around a value, the all-zero
    id and words such as `unknown` are left out.

    >>> hunted_forms([" 6D92078A-8246-4BA4-AE5B-76104861E7DC", "unknown"])
    ('6d92078a82464ba4ae5b76104861e7dc', '6d92078a-8246-4ba4-ae5b-76104861e7dc')
    """
    forms: set[str] = set()
    for value in values:
        form = ascii_lower(value.strip())
        if not form or form in PLACEHOLDERS:
            continue
        if _is_uuid(form):
            bare = form.replace("-", "")
            if bare.strip("0"):
                forms |= {form, bare, f"{bare[:8]}-{bare[8:12]}-{bare[12:16]}-{bare[16:20]}-{bare[20:]}"}
        else:
            forms.add(form)
    return tuple(sorted(forms, key=lambda form: (len(form), form)))


_is_hex_run = re.compile(r"[0-9a-f-]{8,}").fullmatch


def is_hex_run(form: str) -> bool:
    """Tell whether a form is a run of hex digits and dashes long enough to be seen in a member name."""
    return _is_hex_run(form) is not None


_TO_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def ascii_lower(text: str) -> str:
    """Return `text` with its ASCII letters in lower case. Unlike `str.lower` this never changes the length."""
    return text.lower() if text.isascii() else text.translate(_TO_LOWER)
