"""The few request headers that reach a record, under the same identity rules as the events."""

import re
from typing import Final

import normalize
from normalize import OwnAddresses

CHARS_MAX: Final = 200
AGENT_MAX: Final = 512
"""Bytes of a `User-Agent` that may be handed on, and characters of it after the rules; a longer one is left out."""

_plain = re.compile(r"[A-Za-z0-9 ._/()-]{1,200}").fullmatch


def without_own(value: bytes | None, own: OwnAddresses) -> bytes | None:
    """Return a header's value, or None where it seems to name an address of the client: not even parts are kept."""
    if not value:
        return None
    lower = _decoded(value).lower()
    return None if any(needle in lower for needle in own.needles) else value


def _decoded(value: bytes) -> str:
    """Return a header as text: UTF-8, or else the one that HTTP began with."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def header_text(value: bytes | None, own: OwnAddresses) -> str | None:
    """Return a header's value, at most `CHARS_MAX` characters, without anything that identifies; None when empty."""
    if not value:
        return None
    text = _decoded(value)
    lower = text.lower()
    if _plain(text) and "00000000" not in text and not any(needle in lower for needle in own.needles):
        return text
    text, _ = normalize.scrub_text(text, own)  # whole: a cut may leave half of what it looks for
    return text[:CHARS_MAX] or None


def agent_text(value: bytes | None, own: OwnAddresses) -> str | None:
    """Return a `User-Agent` under the rule for texts, whole; None where that is empty or longer than `AGENT_MAX`."""
    if not value or len(value) > AGENT_MAX:
        return None
    text, _ = normalize.scrub_text(_decoded(value), own)
    return text if 0 < len(text) <= AGENT_MAX else None
