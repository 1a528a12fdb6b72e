"""SHA-256 digests as ad platforms and consumers compare them: lower-case hex over UTF-8."""

import re
from typing import Final

from normalize.sha import hex_digest

EMPTY: Final = hex_digest(b"")
"""The digest of no text at all. Well formed, accepted everywhere, and the same for everybody: never to be stored."""

_HEX_LENGTH = 64
# Some client libraries append a dot and a tag of 8 characters to their digests; nobody else takes that as a digest.
_is_digest = re.compile(r"[0-9A-Fa-f]{64}(?:\..{8})?", re.DOTALL).fullmatch


def sha256_hex(text: str) -> str:
    """Return the SHA-256 of the UTF-8 bytes of `text` as 64 lower-case hex characters.

    A lone surrogate, which UTF-8 cannot hold, counts as U+FFFD, so that no text raises.

    >>> sha256_hex("12133734253")[:8]
    '1f81adb3'
    """
    try:
        return hex_digest(text.encode())
    except UnicodeEncodeError:
        return hex_digest(_repaired(text).encode())


def _repaired(text: str) -> str:
    """Join pairs of surrogates to the character that they mean, and replace what is left by U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def as_digest(text: str) -> str | None:
    """Return `text` as a digest in lower case if it is one already, else None.

    A digest is 64 hex digits of any case, white space around it, with or without an appended `.` and 8 characters,
    which are left out. Asking this first is what keeps a digest from being hashed again. `EMPTY` is recognised too:
    the caller decides what becomes of it.

    >>> as_digest(" " + "AB" * 32 + ".AQYCAQIA ") == "ab" * 32
    True
    >>> as_digest("ab" * 31) is None
    True
    """
    if len(text) < _HEX_LENGTH:
        return None
    text = text.strip()
    return text[:_HEX_LENGTH].lower() if _is_digest(text) else None
