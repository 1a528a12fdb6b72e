"""Phone numbers: schemes `phone/1`, `phone_e164/1` and `phone_national/1`."""

from typing import Final, NamedTuple
from unicodedata import decimal

from normalize.sha import hex_digest

DIRECTION_MARKS: Final = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Invisible characters that address books put around a number to keep it left to right."""

_NOT_DIGITS: Final = bytes(set(range(256)) - set(b"0123456789"))
_ASCII_FORMS = {"\uff0b": "+", "\uff08": "(", "\uff09": ")"} | dict.fromkeys(DIRECTION_MARKS, " ")
_CHINA: Final = b"86"
_PLUS: Final = ord("+")


class PhoneDigests(NamedTuple):
    """The digests of one number, 64 lower-case hex characters each.

    `digits` is over its digits; `e164` over `+` and the digits, where the number is known to be international; and
    `national` over the digits after the calling code 86, by which one platform matches Chinese numbers. They cannot be
    turned into each other later, and each platform knows only one of them.
    """

    digits: str
    e164: str | None = None
    national: str | None = None


def phone_digests(value: str | int) -> PhoneDigests | None:
    """Return the digests of a phone number; None when it has no digit.

    Kept are the decimal digits of any script, folded to ASCII (superscripts and circled digits are not decimal); of
    an integer its digits. A number is international when its text starts with `+` (also the full-width one) after
    white space and direction marks; only then has it an E.164 form, which leaves out a bracketed trunk `(0)`.
    Never raises.

    >>> phone_digests("+1 213-373-4253").digits == phone_digests(12133734253).digits
    True
    >>> phone_digests("+44 (0)20 7946 0018").e164 == phone_digests("+442079460018").e164
    True
    >>> phone_digests("020 7946 0018").e164 is None
    True
    >>> phone_digests("ext.") is None
    True
    """
    text = value if isinstance(value, str) else _int_text(value)
    # Deleting bytes in one call costs half of a look at each character, and nearly every number is ASCII.
    ascii_text = (text if text.isascii() else _folded(text)).encode()
    digits = ascii_text.translate(None, _NOT_DIGITS)
    if not digits:
        return None
    plain = hex_digest(digits)
    if ascii_text[0] != _PLUS and not ascii_text.lstrip(_WHITE_SPACE).startswith(b"+"):
        return PhoneDigests(plain)
    if b"(0)" in ascii_text:
        digits = ascii_text.replace(b"(0)", b"", 1).translate(None, _NOT_DIGITS)
        if not digits:
            return PhoneDigests(plain)
    e164 = hex_digest(b"+" + digits)
    if digits[:2] == _CHINA and len(digits) > len(_CHINA):
        return PhoneDigests(plain, e164, hex_digest(digits[len(_CHINA) :]))
    return PhoneDigests(plain, e164)


# What str.strip takes for white space in ASCII; bytes.strip leaves the four separators from 1C on.
_WHITE_SPACE: Final = bytes(code for code in range(128) if chr(code).isspace())


def _folded(text: str) -> str:
    """Return `text` in ASCII: digits, white space, plus and brackets keep their meaning, all else becomes `?`."""
    return "".join(char if char < "\x80" else _folded_char(char) for char in text)


def _folded_char(char: str) -> str:
    digit = decimal(char, None)
    if digit is not None:
        return str(digit)
    return " " if char.isspace() else _ASCII_FORMS.get(char, "?")


def _int_text(value: int) -> str:
    """Return the digits of an integer; none for one that is too long for Python to print, hence no phone number."""
    try:
        return str(value) if not isinstance(value, bool) else ""
    except ValueError:
        return ""
