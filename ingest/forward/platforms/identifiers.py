"""By what a platform may find a user, each in the one form in which it goes there."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from ingest.conversion import Conversion
from normalize import EMPTY, as_digest, sha256_hex
from normalize.device import PLACEHOLDERS, ZERO_ID, ascii_lower, zero_id_spans

_NAMES_OF_NOBODY: Final = PLACEHOLDERS - {"1"}  # the first user of an app may well be number 1
_DIGESTS_OF_NOBODY: Final = frozenset({EMPTY, *map(sha256_hex, (ZERO_ID, ZERO_ID.replace("-", ""), *_NAMES_OF_NOBODY))})
_is_advertising_id = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}").fullmatch


class AdvertisingId(NamedTuple):
    """An advertising id as the device has it."""

    kind: str
    value: str


def digests(texts: Iterable[str]) -> list[str]:
    """Return those texts that are digests of somebody, each once, in lower case."""
    found = map(as_digest, texts)
    return list(dict.fromkeys(each for each in found if each is not None and each not in _DIGESTS_OF_NOBODY))


def somebody(text: str | None) -> str | None:
    """Return an id without white space around it; None where it is the same for everybody, such as the all-zero one."""
    stripped = (text or "").strip()
    if not stripped.strip("0-") or ascii_lower(stripped) in _NAMES_OF_NOBODY or any(zero_id_spans(stripped)):
        return None
    return stripped


def external_id(event: Conversion) -> str | None:
    """Return the digest of the app's own id of its user, else of the install.

    White space around the id is not part of it, case is. An id that is a SHA-256 already is not hashed again.
    """
    for text in (event.app_user_id, event.install_id):
        stripped = somebody(text)
        if stripped is None:
            continue
        known = as_digest(stripped)
        if known is None:
            return sha256_hex(stripped)
        if known not in _DIGESTS_OF_NOBODY:
            return known
    return None


def advertising_id(event: Conversion) -> AdvertisingId | None:
    """Return the id that may be handed on: an IDFA needs the user's consent, a GAID that there was nobody to ask."""
    if event.att_status is None:
        kind, text = "gaid", event.gaid
    else:
        kind, text = "idfa", event.idfa if att_status(event) == "authorized" else None
    value = somebody(text)
    return AdvertisingId(kind, value) if value and _is_advertising_id(value) else None


def att_status(event: Conversion) -> str:
    """Return what the user answered to the App Tracking Transparency request, empty where nothing is known of it."""
    return (event.att_status or "").strip().lower()
