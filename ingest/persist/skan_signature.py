"""Apple's signature of a SKAdNetwork postback: what it signs, version by version, and whether it holds."""

import base64
import enum
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from ingest.pipeline.skan import SIGNATURE
from ingest.setting import SkanKey, version_number

SEPARATOR: Final = "\u2063"

_FIRST: Final = ("ad-network-id", "campaign-id", "app-id", "transaction-id", "redownload", "source-app-id")
_SIGNED: Final[Mapping[str, tuple[str, ...]]] = {
    "2.0": _FIRST,
    "2.1": _FIRST,
    "2.2": (*_FIRST, "fidelity-type"),
    "3.0": (*_FIRST, "fidelity-type", "did-win"),
    "4.0": (
        *("ad-network-id", "source-identifier", "app-id", "transaction-id", "redownload", "source-app-id"),
        *("source-domain", "fidelity-type", "did-win", "postback-sequence-index"),
    ),
}
"""What is signed behind the version, in Apple's order."""

_OPTIONAL: Final = frozenset(("source-app-id", "source-domain"))
"""Signed where Apple sent it; of an ad on the web the domain stands in for the app."""


class Verdict(enum.StrEnum):
    """Whether Apple signed a postback; unchecked where no key for its version is known."""

    VALID = "valid"
    INVALID = "invalid"
    UNCHECKED = "unchecked"


class SkanVerifier:
    """Judges signatures by public keys, each for postbacks of its version and later ones, up to the next key's."""

    def __init__(self, keys: Sequence[SkanKey]) -> None:
        """Raise `ValueError` where a key is none on the curve P-256."""
        self._keys = [(version_number(key.version), _public_key(key.der)) for key in keys]
        self._keys.sort(key=lambda each: each[0])

    def judge(self, postback: Mapping[str, Any]) -> Verdict:
        """Return the verdict on Apple's members of a postback, as they were sent."""
        number = version_number(str(postback.get("version")))
        key = next((key for since, key in reversed(self._keys) if since <= number), None)
        if key is None:
            return Verdict.UNCHECKED
        text = signed_text(postback)
        if text is None:
            return Verdict.INVALID
        try:
            key.verify(base64.b64decode(postback[SIGNATURE], validate=True), text.encode(), ECDSA(SHA256()))
        except (InvalidSignature, KeyError, TypeError, ValueError):
            return Verdict.INVALID
        return Verdict.VALID


def signed_text(postback: Mapping[str, Any]) -> str | None:
    """Return what Apple signs of a postback; None where a member is missing, or its version is not known."""
    version = str(postback.get("version"))
    names = _SIGNED.get(version)
    if names is None:
        return None
    values = [version]
    for name in names:
        value = postback.get(name)
        if value is not None:
            values.append(str(value).lower() if type(value) is bool else str(value))
        elif name not in _OPTIONAL:
            return None
    return SEPARATOR.join(values)


def _public_key(der: bytes) -> EllipticCurvePublicKey:
    key = load_der_public_key(der)
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return key
    raise ValueError("not a public key on P-256")
