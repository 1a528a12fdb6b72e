"""The tokens of all destinations, kept current from the vault."""

import asyncio
from typing import Final

import structlog

from ingest.conversion import Platform
from ingest.db.database import Database, DatabaseAway
from ingest.forward.decide import Hold
from ingest.transport.sealed import SealKeys
from ingest.vault.seal import NoToken
from ingest.vault.tokens import Tokens

LOOK_S: Final = 3.0

_HOLDS: Final = {reason: Hold(reason.value) for reason in NoToken}
VAULT_AWAY: Final = Hold("vault_away")

_log = structlog.get_logger(__name__)


class VaultTokens:
    """`Tokens` as of the last look; before the first one there are none."""

    def __init__(self, database: Database, keys: SealKeys) -> None:
        self._database = database
        self._tokens = Tokens(keys)
        self._looked = False

    def of(self, app_id: str, platform: Platform) -> str | Hold:
        """See `Tokens.of`."""
        if not self._looked:
            return VAULT_AWAY
        token = self._tokens.get(app_id, platform)
        return _HOLDS[token] if isinstance(token, NoToken) else token.reveal()

    async def start(self) -> None:
        """Look for the first time, so that nothing waits for a token that is there; unless the vault is away."""
        try:
            await self.look()
        except DatabaseAway as error:
            _log.warning("vault_away", error=error)

    async def look(self) -> bool:
        """Take over what has changed; return whether anything has. Raises `DatabaseAway`."""
        changed = await self._database.run(self._tokens.refresh)
        self._looked = True
        return changed

    async def follow(self) -> None:
        """Look again and again until cancelled; while the vault is away the tokens that are known are used."""
        while True:
            try:
                if await self.look():
                    _log.info("vault_read")
            except DatabaseAway as error:
                _log.debug("vault_away", error=error)
            await asyncio.sleep(LOOK_S)
