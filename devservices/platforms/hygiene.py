"""What must never reach a platform, whatever it would say to it: the raw, the meaningless and the misplaced.

It is cheap for events that are clean: their JSON is looked through once, as bytes, for what could be the trace of
something. Only where there is such a trace, texts are looked at one by one.
"""

import enum
import hashlib
import ipaddress
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

EMPTY_DIGEST: Final = hashlib.sha256(b"").hexdigest()
ZERO_ID: Final = "00000000-0000-0000-0000-000000000000"
ZERO_DIGESTS: Final = tuple(hashlib.sha256(text.encode()).hexdigest() for text in (ZERO_ID, ZERO_ID.replace("-", "")))

_UNQUOTES_MAX: Final = 3
_VERSIONS: Final = frozenset({"client_user_agent", "user_agent", "extinfo", "app_version"})
"""Members whose text may look like a network address and is a version."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_ANY_HEX_64 = re.compile(r"[0-9A-Fa-f]{64}")
_ADDRESS = re.compile(r"[^\s@/?&=:;,<>\"'()]@[^\s@/?&=]+\.[^\s@/?&=.]{2}")
_PHONE = re.compile(r"\+\(?\d(?:[\s().-]{0,2}\d){7,14}(?!\d)")
_ZERO = re.compile(r"(?<![0-9a-fA-F])0{8}(-?)0{4}\1(?:0{4}\1){2}0{12}(?![0-9a-fA-F])")
_IPV4 = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?!\.?\d)")
_IPV6 = re.compile(r"(?<![\w:])[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]*:[0-9A-Fa-f.]*(?![\w:])")

_TRACES: Final = tuple(text.encode() for text in ("@", "+", "\\", "0" * 12, EMPTY_DIGEST, *ZERO_DIGESTS))
_QUOTED: Final = tuple(text.encode() for text in ("%40", "%2b", "%2B", "%25", "%3a", "%3A"))
_DOTS = re.compile(rb"\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]")
_COLONS = re.compile(rb":[0-9A-Fa-f]{0,4}:")


class Reason(enum.StrEnum):
    """Why an event should not have been sent as it was."""

    RAW_ADDRESS = "raw_address"
    RAW_PHONE = "raw_phone"
    NETWORK_ADDRESS = "network_address"
    ZERO_ID = "zero_id"  # or its digest
    EMPTY_DIGEST = "empty_digest"
    UPPER_CASE_DIGEST = "upper_case_digest"
    NOT_A_DIGEST = "not_a_digest"
    DIGEST_IN_CLEAR = "digest_in_clear"
    BOOLEAN_FLAG = "boolean_flag"
    UNPERMITTED_ID = "unpermitted_id"  # an advertising id although tracking is not allowed
    NO_EVENT_ID = "no_event_id"
    MISPLACED_EVENT_ID = "misplaced_event_id"
    MISSING_FLAG = "missing_flag"
    UNKNOWN_MEMBER = "unknown_member"
    UNKNOWN_VALUE = "unknown_value"
    IN_FUTURE = "in_future"


class Finding(NamedTuple):
    """A member, by its name alone, and what is wrong with it."""

    member: str
    reason: Reason


def is_digest(text: str) -> bool:
    """Tell whether it is a SHA-256 as platforms want it."""
    return len(text) == 64 and _DIGEST.fullmatch(text) is not None


def digest_findings(member: str, value: object) -> Iterator[Finding]:
    """Yield what is wrong with the value, or the values, of a member that must be hashed."""
    for each in value if type(value) is list else (value,):
        if type(each) is str and is_digest(each):
            continue
        upper = type(each) is str and _ANY_HEX_64.fullmatch(each)
        yield Finding(member, Reason.UPPER_CASE_DIGEST if upper else Reason.NOT_A_DIGEST)


def clear_findings(member: str, value: object) -> Iterator[Finding]:
    """Yield what is wrong with the value of a member that must not be hashed."""
    if type(value) is str and len(value) == 64 and _ANY_HEX_64.fullmatch(value):
        yield Finding(member, Reason.DIGEST_IN_CLEAR)


def text_findings(raw: bytes, event: dict[str, Any], user_agent: object) -> Iterator[Finding]:
    """Yield what must not stand in any text of `event`, whose JSON is `raw`. The user agent is full of versions."""
    if _traces(raw, user_agent):
        yield from _walk(event, "")


def _traces(raw: bytes, user_agent: object) -> bool:
    for trace in _TRACES:
        if trace in raw:
            return True
    if b"%" in raw and any(quoted in raw for quoted in _QUOTED):
        return True
    if type(user_agent) is str:
        raw = raw.replace(user_agent.encode(errors="surrogatepass"), b"")
    return _DOTS.search(raw) is not None or _COLONS.search(raw) is not None


def _walk(value: object, member: str) -> Iterator[Finding]:
    if type(value) is str:
        for reason in _text_reasons(value, member):
            yield Finding(member, reason)
    elif type(value) is dict:
        for name, inner in value.items():
            for reason in _text_reasons(name, member):
                yield Finding(member, reason)
            yield from _walk(inner, name)
    elif type(value) is list:
        for inner in value:
            yield from _walk(inner, member)


def _text_reasons(text: str, member: str) -> Iterator[Reason]:
    for _ in range(_UNQUOTES_MAX):
        if "%" in text:
            text = unquote(text)
    if _ADDRESS.search(text):
        yield Reason.RAW_ADDRESS
    if _PHONE.search(text):
        yield Reason.RAW_PHONE
    if _ZERO.search(text) or any(digest in text for digest in ZERO_DIGESTS):
        yield Reason.ZERO_ID
    if EMPTY_DIGEST in text:
        yield Reason.EMPTY_DIGEST
    if member not in _VERSIONS and _has_network_address(text):
        yield Reason.NETWORK_ADDRESS


def _has_network_address(text: str) -> bool:
    for pattern in (_IPV4, _IPV6):
        for found in pattern.finditer(text):
            try:
                address = ipaddress.ip_address(found[0])
            except ValueError:
                continue
            if not address.is_unspecified:
                return True
    return False
