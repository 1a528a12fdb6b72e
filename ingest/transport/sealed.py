"""Sealing of what lies on disk: AES-256-GCM under keys that are kept elsewhere.

Several keys may be given: the first seals, every one opens. That is how a key is replaced without touching old data:
put the new key in front and take the old one away once nothing sealed with it is left.
"""

import base64
import binascii
import hashlib
import os
from typing import Final, NamedTuple, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ingest.transport.contract import ConfigurationError

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
"""96 random bits for each seal: one key is good for 2**32 seals before a repeated nonce is worth a thought."""


class Sealed(NamedTuple):
    """A sealed text: the id of its key, and nonce, ciphertext and tag in one piece."""

    key_id: str
    box: bytes


class UnknownKey(LookupError):  # noqa: N818 - named for what the operator can do about it
    """The text was sealed with a key that was not given; it is not damaged."""


class Tampered(ValueError):  # noqa: N818 - as above
    """The text or what is bound to it is not what was sealed."""


class SealKeys:
    """An ordered set of AES-256 keys: the first seals, all open. It never shows its keys."""

    def __init__(self, *keys: bytes) -> None:
        if not keys:
            raise ConfigurationError("no key to seal with is given")
        for position, key in enumerate(keys, 1):
            if len(key) != KEY_BYTES:
                raise ConfigurationError(f"key {position} has {len(key)} bytes instead of {KEY_BYTES}")
        self._ciphers = {_key_id(key): AESGCM(key) for key in keys}
        if len(self._ciphers) < len(keys):
            raise ConfigurationError("the same key is given twice")
        self._first_id = _key_id(keys[0])
        self._first = self._ciphers[self._first_id]

    def __repr__(self) -> str:
        return f"SealKeys(ids={', '.join(self._ciphers)})"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read comma-separated base64 keys of 32 bytes each; white space around a key is ignored.

        Raises `ConfigurationError` naming the position, counted from 1, and the reason, never the content.
        """
        keys = []
        for position, part in enumerate(text.split(","), 1):
            try:
                keys.append(base64.b64decode(part.strip().encode("ascii"), validate=True))
            except (binascii.Error, UnicodeEncodeError):
                raise ConfigurationError(f"key {position} is not base64") from None
        return cls(*keys)

    @staticmethod
    def generate() -> str:
        """Make a new random key in the form that `parse` reads."""
        return base64.b64encode(os.urandom(KEY_BYTES)).decode("ascii")

    @property
    def first_id(self) -> str:
        """The id of the key that seals: the first 8 bytes of the key's SHA-256, in hex."""
        return self._first_id

    @property
    def ids(self) -> frozenset[str]:
        """The ids of all keys that open."""
        return frozenset(self._ciphers)

    def seal(self, plaintext: bytes, bound: bytes) -> Sealed:
        """Seal `plaintext`. `bound` stays outside, but the text opens only together with the same `bound`."""
        nonce = os.urandom(NONCE_BYTES)
        return Sealed(self._first_id, nonce + self._first.encrypt(nonce, plaintext, bound))

    def open(self, sealed: Sealed, bound: bytes) -> bytes:
        """Return the plaintext. Raises `UnknownKey`, or `Tampered` where text, tag or `bound` do not fit together."""
        cipher = self._ciphers.get(sealed.key_id)
        if cipher is None:
            raise UnknownKey(f"sealed with key {sealed.key_id}, which is not given")
        try:
            return cipher.decrypt(sealed.box[:NONCE_BYTES], sealed.box[NONCE_BYTES:], bound)
        except (InvalidTag, ValueError):
            raise Tampered("the seal is broken") from None


def _key_id(key: bytes) -> str:
    return hashlib.sha256(key).digest()[:8].hex()
