"""All tokens, opened, as of the last look at the vault."""

from ingest.conversion import Platform
from ingest.db.database import Connection
from ingest.db.queries.vault import SealedToken, sealed_tokens, vault_digest
from ingest.setting import Secret
from ingest.transport.sealed import SealKeys
from ingest.vault.seal import NoToken, open_token

_Opened = tuple[SealedToken, Secret | NoToken]


class Tokens:
    """Opens what the vault holds. It knows nothing before the first `refresh`.

    A look costs one small query; rows are read where it tells a change, and of these only new ones are opened. So it
    may be called every few seconds.
    """

    def __init__(self, keys: SealKeys) -> None:
        self._keys = keys
        self._digest = ""
        self._opened: dict[tuple[str, str], _Opened] = {}

    def get(self, app_id: str, platform: Platform) -> Secret | NoToken:
        """Return an app's token for a platform, or why there is none; never waits."""
        opened = self._opened.get((app_id, platform))
        return NoToken.MISSING if opened is None else opened[1]

    async def refresh(self, connection: Connection) -> bool:
        """Take over what has changed; return whether anything has."""
        digest = await vault_digest(connection)
        if digest == self._digest:
            return False
        rows = await sealed_tokens(connection)
        self._opened = {(row.app_id, row.platform): self._open(row) for row in rows}
        self._digest = digest  # taken before the rows, so that a change in between is seen by the next look
        return True

    def _open(self, row: SealedToken) -> _Opened:
        known = self._opened.get((row.app_id, row.platform))
        return known if known is not None and known[0] == row else (row, open_token(self._keys, row))
