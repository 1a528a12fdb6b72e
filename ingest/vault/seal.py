"""The seal of one token. It opens in its own place alone: under the id, the app and the platform it was sealed for."""

import enum
import re
from typing import Final, NamedTuple

from ingest.control.record import ControlError
from ingest.conversion import Platform
from ingest.db.queries.vault import SealedToken
from ingest.setting import Secret
from ingest.transport.sealed import Sealed, SealKeys, Tampered, UnknownKey

TOKEN_CHARACTERS_MAX: Final = 4096

_PURPOSE: Final = "ingest vault token"
_is_token = re.compile(rf"[ -~]{{1,{TOKEN_CHARACTERS_MAX}}}").fullmatch


class Place(NamedTuple):
    """Whose token it is, and for which platform."""

    app_id: str
    platform: Platform


class NoToken(enum.StrEnum):
    """Why there is no token to be used."""

    MISSING = "token_missing"
    UNKNOWN_KEY = "token_key_unknown"  # sealed under a key that was not given
    TAMPERED = "token_tampered"  # the seal is broken, or was made for another place


def read_token(text: str) -> Secret:
    """Return a token as somebody hands it in, without white space around it.

    Raises `ControlError`, which never shows it.
    """
    token = text.strip()
    if _is_token(token) is None:
        raise ControlError(f"a token has 1 to {TOKEN_CHARACTERS_MAX} printable ASCII characters, on one line")
    return Secret(token)


def seal_token(keys: SealKeys, token_id: str, place: Place, token: Secret) -> SealedToken:
    """Seal a token under the first key, for its place."""
    sealed = keys.seal(token.reveal().encode(), _bound(token_id, *place))
    return SealedToken(token_id, *place, sealed.key_id, sealed.box)


def open_token(keys: SealKeys, token: SealedToken) -> Secret | NoToken:
    """Open a token that is sealed under any of the keys."""
    try:
        text = keys.open(Sealed(token.key_id, token.sealed), _bound(token.id, token.app_id, token.platform))
    except UnknownKey:
        return NoToken.UNKNOWN_KEY
    except Tampered:
        return NoToken.TAMPERED
    return Secret(text.decode())


def _bound(token_id: str, app_id: str, platform: str) -> bytes:
    """Return what a seal is bound to; no part can hold a line break."""
    return f"{_PURPOSE}\n{token_id}\n{app_id}\n{platform}".encode()
