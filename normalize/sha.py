"""SHA-256 without the way through OpenSSL, which costs a busy server more for a short text than the hashing itself.

CPython brings an implementation of its own, under a name that changed with 3.12. Where it is missing, `hashlib` serves.
"""

import importlib
from hashlib import sha256 as _openssl
from typing import Any, Final


def _builtin() -> Any:
    for name in ("_sha2", "_sha256"):
        try:
            return importlib.import_module(name).sha256
        except ImportError:
            continue
    return _openssl


_sha256: Final = _builtin()


def hex_digest(data: bytes) -> str:
    """Return the SHA-256 of bytes as 64 lower-case hex characters."""
    digest: str = _sha256(data).hexdigest()
    return digest
