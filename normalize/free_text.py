"""E-mail addresses and phone numbers inside free text, found in one pass over it.

The patterns only repeat possessively and start where nothing of the same kind stands before, so that no text, however
hostile, takes more than linear time.
"""

import re
from collections.abc import Iterator

from normalize.phone import DIRECTION_MARKS

# What ends an address: white space, quotes, brackets, and the punctuation of lists and URLs, also in full width.
_WORD = (
    r"[^\s\"<>()\[\]{},;:/=&?#|\\\u201c-\u201e\u00ab\u00bb\u3001\u3002\u3008-\u3011\uff08\uff09\uff0c\uff1a\uff1b]++"
)
# A local part may stand in quotes or braces, and a domain may be an address in brackets (RFC 5321, 4.1.2 and 4.1.3).
_words = re.compile(
    rf"\"[^\"@]{{1,64}}+\"@{_WORD}|\{{[^{{}}@]{{1,64}}+\}}@{_WORD}|{_WORD}(?:(?<=@)\[[0-9A-Za-z:.]{{2,64}}+\])?"
).finditer
# What may stand around an address without being part of it: the end of a sentence, emphasis, invisible marks.
_AROUND = "@.!*~'`\u00b4\u2018\u2019\u2026\u200b\u2060\ufeff" + DIRECTION_MARKS

_GAP = r"[\s()._/\-\u00ad\u00b7\u200b\u2010-\u2015\u2060\u2212\u30fb\uff08\uff09\uff0d\uff0e" + DIRECTION_MARKS + "]*+"
_numbers = re.compile(rf"[+\uff0b](?:{_GAP}\d++)++")
_groups = re.compile(r"\d++").finditer
_DIGITS_MIN, _DIGITS_MAX = 8, 15


def email_spans(text: str) -> Iterator[tuple[int, int]]:
    """Find what has the form `local@domain`, both of at least one character, letters of any script included.

    Where a local part holds one of `&=|#?/`, what stands before the last of these is taken for something else.

    >>> text = "Write to <ann@example.com>, or bob@localhost."
    >>> [text[start:end] for start, end in email_spans(text)]
    ['ann@example.com', 'bob@localhost']
    """
    if "@" not in text:
        return
    for word in _words(text):
        if "@" not in word[0]:
            continue
        address = word[0].strip(_AROUND)
        if "@" in address:
            start = word.start() + len(word[0]) - len(word[0].lstrip(_AROUND))
            yield start, start + len(address)


def phone_spans(text: str) -> Iterator[tuple[int, int]]:
    """Find `+` and 8 to 15 digits of any script, with spaces, brackets, dots, dashes and slashes between them.

    Where more digits follow after a separator, as in a number before a date, the longest part that ends at a separator
    and has no more than 15 digits is taken. A `+` with 16 digits in a row is no phone number.

    >>> text = "call +1 (415) 555-2671 today, not +1234567890123456"
    >>> [text[start:end] for start, end in phone_spans(text)]
    ['+1 (415) 555-2671']
    """
    for found in _numbers.finditer(text) if "+" in text or "\uff0b" in text else ():
        end = _end_of_phone(text, *found.span())
        if end:
            yield found.start(), end


def phone_end(text: str, start: int) -> int:
    """Return where the phone number ends that begins with a `+` at `start`, 0 if there is none."""
    found = _numbers.match(text, start)
    return _end_of_phone(text, *found.span()) if found else 0


def _end_of_phone(text: str, start: int, stop: int) -> int:
    digits = end = 0
    for group in _groups(text, start, stop):
        digits += group.end() - group.start()
        if digits > _DIGITS_MAX:
            break
        if digits >= _DIGITS_MIN:
            end = group.end()
    return end
