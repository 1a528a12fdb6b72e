"""Validate Apple's SKAdNetwork postbacks, as an app forwards them.

A postback is anonymous by design and must not be joined with a user or a device. So of what stands beside its own
members nothing is kept but the app, and the time where there is one.
"""

import base64
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from ingest.event import JsonObject, ValidEvent
from ingest.outcome import Fault, RejectionCode
from ingest.pipeline.validate import NOT_AN_OBJECT, fault_of

VERSIONS: Final = ("2.0", "2.1", "2.2", "3.0", "4.0")
TRANSACTION: Final = "transaction-id"
SEQUENCE: Final = "postback-sequence-index"
SIGNATURE: Final = "attribution-signature"
COARSE_VALUES: Final = ("low", "medium", "high")
SEQUENCES: Final = 3

_BESIDE: Final = ("app_id", "timestamp")
_REQUIRED: Final = ("version", "ad-network-id", "app-id", TRANSACTION, SIGNATURE)
_SIGNATURE_CHARS_MAX: Final = 128
_ID_MAX: Final = 2**63 - 1

_is_uuid = re.compile(r"(?!0{8}-0{4}-0{4}-0{4}-0{12})[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}").fullmatch
_is_network = re.compile(r"[A-Za-z0-9._-]{1,100}").fullmatch
_is_domain = re.compile(r"(?=.{1,253}\Z)(?:[A-Za-z0-9_-]{1,63}\.)+(?=[0-9-]*[A-Za-z])[A-Za-z0-9-]{1,63}").fullmatch
_is_source = re.compile(r"[0-9]{1,4}", re.ASCII).fullmatch
_is_store_id = re.compile(r"[0-9]{1,18}", re.ASCII).fullmatch
_is_country = re.compile(r"[A-Za-z]{2}").fullmatch


def _is_signature(text: str) -> bool:
    """Tell whether a text is an ECDSA signature in base64: in DER, a sequence of two integers and nothing else."""
    try:
        der = base64.b64decode(text, validate=True) if len(text) <= _SIGNATURE_CHARS_MAX else b""
    except ValueError:
        return False
    if len(der) < 8 or der[:1] != b"\x30" or der[1] != len(der) - 2:
        return False
    second = 4 + der[3]
    return der[2] == 2 and second + 2 < len(der) and der[second] == 2 and second + 2 + der[second + 1] == len(der)


class _Rule(NamedTuple):
    """What a member must be: of one of these types, and then so that it `holds`."""

    types: tuple[type, ...]
    holds: Callable[[Any], object]
    must: str


def _from(first: int, last: int, what: str) -> _Rule:
    return _Rule((int,), lambda value: first <= value <= last, what)


_STORE_ID: Final = _Rule(
    (int, str),
    lambda value: 0 <= value <= _ID_MAX if type(value) is int else _is_store_id(value),
    "an id of the App Store",
)
_BOOLEAN: Final = _Rule((bool,), lambda _: True, "true or false")

_RULES: Final[dict[str, _Rule]] = {
    "version": _Rule((str,), VERSIONS.__contains__, "one of " + ", ".join(VERSIONS)),
    "ad-network-id": _Rule((str,), _is_network, "the id of an ad network"),
    "campaign-id": _from(1, 100, "an integer from 1 to 100"),
    "source-identifier": _Rule((str, int), lambda value: _is_source(str(value)), "one to four digits"),
    "app-id": _STORE_ID,
    TRANSACTION: _Rule((str,), _is_uuid, "a UUID"),
    "redownload": _BOOLEAN,
    "source-app-id": _STORE_ID,
    "source-domain": _Rule((str,), _is_domain, "a domain"),
    "fidelity-type": _from(0, 1, "0 or 1"),
    "did-win": _BOOLEAN,
    "conversion-value": _from(0, 63, "an integer from 0 to 63"),
    "coarse-conversion-value": _Rule((str,), COARSE_VALUES.__contains__, "one of " + ", ".join(COARSE_VALUES)),
    SEQUENCE: _from(0, SEQUENCES - 1, f"an integer from 0 to {SEQUENCES - 1}"),
    "country-code": _Rule((str,), _is_country, "a code of two letters"),
    SIGNATURE: _Rule((str,), _is_signature, "a signature in base64"),
}

PROVEN: Final = (SIGNATURE,)
"""Members that cannot hold what the identity rules look for, and may look so all the same."""


def validate_postback(postback: Any, app_id: str) -> ValidEvent | Fault:
    """Return Apple's members of a postback if it may go on, else its first fault. Members that are null are absent.

    Its `event_id` is made of Apple's transaction and the number of the postback, so that a repeat is known.
    """
    if type(postback) is not dict:
        return postback if isinstance(postback, Fault) else NOT_AN_OBJECT
    fault = fault_of(postback, app_id, needs_time=False) or _fault(postback)
    if fault is not None:
        return fault
    kept = {
        name: value for name, value in postback.items() if value is not None and (name in _RULES or name in _BESIDE)
    }
    kept["event_id"] = f"{postback[TRANSACTION].lower()}:{postback.get(SEQUENCE) or 0}"
    return ValidEvent(kept)


def _fault(postback: JsonObject) -> Fault | None:
    for name in _REQUIRED:
        if postback.get(name) is None:
            return Fault(RejectionCode.MISSING_FIELD, f"`{name}` is required.", name)
    for name, rule in _RULES.items():
        value = postback.get(name)
        if value is None:
            continue
        if type(value) not in rule.types:
            return Fault(RejectionCode.INVALID_TYPE, f"`{name}` must be {rule.must}.", name)
        if not rule.holds(value):
            return Fault(RejectionCode.INVALID_VALUE, f"`{name}` must be {rule.must}.", name)
    return None
