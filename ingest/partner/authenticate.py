"""Who calls: the key in `Authorization`, its row read afresh, and the ladder that both surfaces share."""

from psycopg.errors import UndefinedTable

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
        standing = await self.standing(key.key_id)
        is_right = await self._verifier.verify(key.key_id, key.secret, standing.secret_hash)
        if not is_right or not standing.known or standing.env != key.env:
            raise Refusal(Code.UNAUTHENTICATED)
        return standing

    async def again(self, standing: KeyStanding, scope: str | None) -> None:
        """Climb the ladder once more, as after a body that took its time: much may have happened to the key since.

        Raises the `Refusal` of the first rung that the key does not pass now.
        """
        now = await self.standing(standing.id)
        check_same(standing, now, scope)

    async def standing(self, key_id: str) -> KeyStanding:
        """Return how a key stands now. Raises `Refusal` with `UNAVAILABLE` while the database is away."""
        try:
            return await self._database.run(lambda connection: standing_of(connection, key_id))
        except (DatabaseAway, UndefinedTable):  # a schema that is still to be made is away too
            raise Refusal(Code.UNAVAILABLE) from None


def check_same(before: KeyStanding, now: KeyStanding, scope: str | None) -> None:
    """Raise `Refusal` where a key that was authenticated may not go on: its secret was replaced, or a rung fails."""
    if not now.known or now.secret_hash != before.secret_hash:
        raise Refusal(Code.UNAUTHENTICATED)
    check_standing(now, scope)


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
    return parse(text[len(_SCHEME) :].strip(" "))
