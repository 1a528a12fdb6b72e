"""The vault: whether the keys that are given open every token in it. No token is shown, nor kept."""

import asyncio
from collections import Counter
from typing import Final

import psycopg

from ingest.checks.finding import Finding, fault, ok
from ingest.db.database import Database, DatabaseAway
from ingest.db.queries.vault import SealedToken, sealed_tokens
from ingest.transport.sealed import SealKeys
from ingest.vault.seal import NoToken, open_token

_WORDS: Final = {
    NoToken.UNKNOWN_KEY: "are sealed under a key that is not given",
    NoToken.TAMPERED: "have a broken seal, or one of another place",
}


def vault(dsn: str, keys: SealKeys) -> Finding:
    """Tell whether every token opens."""
    try:
        tokens = asyncio.run(_tokens(dsn))
    except DatabaseAway:
        return fault("vault", "the tokens of platforms cannot be read, because the database cannot be reached")
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedTable):
        return fault("vault", "the tokens of platforms may not be read", "look at schema and rights above")
    closed = Counter(opened for token in tokens if isinstance(opened := open_token(keys, token), NoToken))
    if not closed:
        return ok("vault", f"INGEST_VAULT_KEY opens all {len(tokens)} tokens of platforms")
    told = ", ".join(f"{count} {_WORDS[reason]}" for reason, count in closed.items())
    return fault(
        "vault",
        f"of {len(tokens)} tokens of platforms {told}",
        "give their key too, behind the first one, or put them anew with `ingest vault put`",
    )


async def _tokens(dsn: str) -> list[SealedToken]:
    database = Database(dsn, "ingest-check", connections_max=1)
    await database.open()
    try:
        return await database.run(sealed_tokens)
    finally:
        await database.close()
