"""Queries on the vault: the tokens of platforms, sealed; what opens them is not known here."""

from datetime import datetime

import msgspec

from ingest.db.database import Connection
from ingest.db.rows import change, fetch_all, fetch_one


class TokenRow(msgspec.Struct, frozen=True):
    """A token without the token: whose it is, under which key it is sealed, and since when.

    `replaced_at` is when the token last changed, `resealed_at` when only its seal did.
    """

    id: str
    app_id: str
    platform: str
    key_id: str
    created_at: datetime
    replaced_at: datetime | None
    resealed_at: datetime | None


class SealedToken(msgspec.Struct, frozen=True):
    """A token as it is kept: the id of its key, and nonce, ciphertext and tag in one piece."""

    id: str
    app_id: str
    platform: str
    key_id: str
    sealed: bytes


async def insert_token(connection: Connection, token: SealedToken) -> None:
    """Add a token. Raises `psycopg.errors.UniqueViolation` where the app has one for the platform."""
    await change(
        connection,
        """
        INSERT INTO vault_secrets (id, app_id, platform, key_id, sealed)
        VALUES (%(id)s, %(app_id)s, %(platform)s, %(key_id)s, %(sealed)s)
        """,
        msgspec.structs.asdict(token),
    )


async def replace_token(connection: Connection, token: SealedToken) -> None:
    """Put another token in the place of the one that has this id."""
    await change(
        connection,
        "UPDATE vault_secrets SET key_id = %(key_id)s, sealed = %(sealed)s, replaced_at = now() WHERE id = %(id)s",
        msgspec.structs.asdict(token),
    )


async def reseal_token(connection: Connection, token: SealedToken) -> None:
    """Keep the same token under a new seal."""
    await change(
        connection,
        "UPDATE vault_secrets SET key_id = %(key_id)s, sealed = %(sealed)s, resealed_at = now() WHERE id = %(id)s",
        msgspec.structs.asdict(token),
    )


async def delete_token(connection: Connection, token_id: str) -> None:
    """Let go of a token."""
    await change(connection, "DELETE FROM vault_secrets WHERE id = %(id)s", {"id": token_id})


async def find_token(connection: Connection, app_id: str, platform: str) -> TokenRow | None:
    """Return what is known of an app's token for a platform, or None."""
    return await fetch_one(
        connection,
        TokenRow,
        """
        SELECT id, app_id, platform, key_id, created_at, replaced_at, resealed_at FROM vault_secrets
        WHERE app_id = %(app_id)s AND platform = %(platform)s
        """,
        {"app_id": app_id, "platform": platform},
    )


async def list_tokens(connection: Connection) -> list[TokenRow]:
    """Return what is known of all tokens, by app and platform."""
    return await fetch_all(
        connection,
        TokenRow,
        """
        SELECT id, app_id, platform, key_id, created_at, replaced_at, resealed_at FROM vault_secrets
        ORDER BY app_id, platform
        """,
    )


async def sealed_tokens(connection: Connection) -> list[SealedToken]:
    """Return all tokens as they are kept."""
    return await fetch_all(
        connection, SealedToken, "SELECT id, app_id, platform, key_id, sealed FROM vault_secrets ORDER BY id"
    )


async def vault_digest(connection: Connection) -> str:
    """Return a digest of all that the vault holds: another one after every change, however it was made.

    Times would not do: of two changes the one that was begun first may be committed last.
    """
    async with connection.cursor() as cursor:
        await cursor.execute(
            """
            SELECT encode(sha256(convert_to(coalesce(string_agg(
                concat_ws(' ', id, app_id, platform, key_id, encode(sha256(sealed), 'hex')), ',' ORDER BY id), ''),
                'UTF8')), 'hex')
            FROM vault_secrets
            """
        )
        row = await cursor.fetchone()
        assert row is not None
        return str(row[0])


async def lock_sealed_otherwise(
    connection: Connection, key_id: str, *, behind: str, rows_max: int
) -> list[SealedToken]:
    """Return tokens that are not sealed under this key, by id from behind one, and keep others from changing them."""
    return await fetch_all(
        connection,
        SealedToken,
        """
        SELECT id, app_id, platform, key_id, sealed FROM vault_secrets
        WHERE key_id <> %(key_id)s AND id > %(behind)s ORDER BY id LIMIT %(rows_max)s FOR UPDATE
        """,
        {"key_id": key_id, "behind": behind, "rows_max": rows_max},
    )
