"""Partners' keys: `lp_<env>_<keyid>.<secret>`, and the hash by which a secret is known again.

The secret is 32 random bytes in base64url; of it only a bcrypt hash of cost 12 is kept.
"""

import base64
import re
import secrets
from typing import Final, NamedTuple

import bcrypt
from ulid import ULID

from ingest.db.rows import Env

BCRYPT_COST: Final = 12
_SECRET_BYTES: Final = 32

_key = re.compile(r"lp_(live|test)_([0-7][0-9A-HJKMNP-TV-Z]{25})\.([A-Za-z0-9_-]{43})", re.ASCII).fullmatch

_key_within = re.compile(r"(lp_(?:live|test)_[0-9A-Za-z]{26})\.[A-Za-z0-9_-]+", re.ASCII)


_is_key_id = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", re.ASCII).fullmatch


def is_key_id(text: str) -> bool:
    """Tell whether a text has the form of a key's id, a ULID."""
    return _is_key_id(text) is not None


class PartnerKey(NamedTuple):
    """The parts of a key; `secret` is to be shown once and kept nowhere."""

    env: Env
    key_id: str
    secret: str

    def text(self) -> str:
        """Return the whole key, as a partner sends it."""
        return f"lp_{self.env}_{self.key_id}.{self.secret}"

    def __repr__(self) -> str:
        return f"PartnerKey({self.env}, {self.key_id})"


def mint(env: Env, key_id: str | None = None) -> PartnerKey:
    """Return a key with a new secret, and with a new id where none is given."""
    secret = base64.urlsafe_b64encode(secrets.token_bytes(_SECRET_BYTES)).decode().rstrip("=")
    return PartnerKey(env, key_id or str(ULID()), secret)


def parse(text: str) -> PartnerKey | None:
    """Return the parts of what should be a key, None for what cannot be one."""
    found = _key(text)
    if found is None:
        return None
    return PartnerKey("live" if found[1] == "live" else "test", found[2], found[3])


def without_secrets(text: str) -> str:
    """Return a text with `…` for the secret of every key in it: people explain what has leaked by showing it."""
    return _key_within.sub(r"\1.…", text)


def hash_secret(secret: str) -> str:
    """Return the hash of a secret; takes about a quarter of a second."""
    return bcrypt.hashpw(secret.encode(), bcrypt.gensalt(BCRYPT_COST)).decode()


def matches(secret: str, secret_hash: str) -> bool:
    """Tell whether a secret has this hash, comparing in constant time; takes as long as `hash_secret`."""
    return bcrypt.checkpw(secret.encode(), secret_hash.encode())
