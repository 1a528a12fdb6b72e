"""U+0000 is legal JSON, and PostgreSQL can store it nowhere: U+FFFD takes its place."""

import re
from typing import Final

ZERO_ESCAPE: Final = b"\\u0000"
_REPLACEMENT: Final = b"\\ufffd"

_escape = re.compile(rb"\\(?:u0000|.)", re.DOTALL)


def without_zeros(value: bytes) -> bytes:
    """Return JSON in which no text holds U+0000; as a rule that is `value` itself."""
    if ZERO_ESCAPE not in value:
        return value
    return _escape.sub(lambda found: _REPLACEMENT if found[0] == ZERO_ESCAPE else found[0], value)
