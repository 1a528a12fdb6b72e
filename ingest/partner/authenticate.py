"""Who calls: the key in `Authorization`, its row read afresh, and the ladder that both surfaces share."""

from ingest.control.secrets import PartnerKey, parse
from ingest.db.database import Database, DatabaseAway
from ingest.db.queries.keys import standing_of
from ingest.db.rows import KeyStanding
from ingest.errors import Code, Refusal
from ingest.partner.verify import SecretVerifier
from ingest.registry.ladder import refusal
from ingest.registry.model import Kills

_SCHEME = "bearer "
HEADER_CHARACTERS_MAX = 200


class Authenticator:
    """Turns the header `Authorization` into the standing of a key."""

    def __init__(self, database: Database, verifier: SecretVerifier) -> None:
        self._database = database
        self._verifier = verifier

    async def authenticate(self, header: bytes | None) -> KeyStanding:
        """Return the key that calls, whatever it may do.

        What cannot be a key is refused without work. Raises `Refusal`: `UNAUTHENTICATED`, `OVERLOADED`, or
        `UNAVAILABLE` while the database is away.
        """
        key = _read(header)
        if key is None:
            raise Refusal(Code.UNAUTHENTICATED)
        try:
            standing = await self._database.run(lambda connection: standing_of(connection, key.key_id))
        except DatabaseAway:
            raise Refusal(Code.UNAVAILABLE) from None
        known = standing is not None and standing.env == key.env
        secret_hash = standing.secret_hash if standing is not None and known else None
        if not await self._verifier.verify(key.key_id, key.secret, secret_hash):
            raise Refusal(Code.UNAUTHENTICATED)
        assert standing is not None
        return standing


def check_standing(standing: KeyStanding, scope: str | None) -> None:
    """Raise the `Refusal` of the first rung of the ladder that a key does not pass; `scope` is the last one."""
    organizations = frozenset({standing.organization_id} if standing.organization_killed else ())
    refused = refusal(standing, Kills(standing.global_killed, organizations), complete=True)
    if refused is not None:
        raise refused
    if scope is not None and scope not in standing.scopes:
        raise Refusal(Code.FORBIDDEN_SCOPE, details={"requiredScope": scope})


def _read(header: bytes | None) -> PartnerKey | None:
    if header is None or len(header) > HEADER_CHARACTERS_MAX:
        return None
    text = header.decode("latin-1")
    if text[: len(_SCHEME)].lower() != _SCHEME:
        return None
    return parse(text[len(_SCHEME) :].strip())
