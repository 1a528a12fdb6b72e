"""Queries on partners' keys."""

from typing import Final, LiteralString

from ingest.db.database import Connection
from ingest.db.rows import Env, Key, KeyStanding, change, fetch_all, fetch_one

NOBODYS_HASH: Final = "$2b$12$AaDOwML/Y3Xb3PsHYP/T6uyrn5Qle14NFsY6SA9391xqciAFrk1/e"
"""Stands in for the hash of a key that does not exist: checking against it takes the same work."""

_COLUMNS: Final[LiteralString] = """
    SELECT id, organization_id, env, name, scopes, tier, is_active, kill_switch, created_at, rotated_at, revoked_at
    FROM api_keys
"""
_STANDING: Final[LiteralString] = """
    SELECT asked.id, k.id IS NOT NULL AS known, coalesce(k.organization_id, '') AS organization_id,
        coalesce(o.name, '') AS organization_name, coalesce(k.env, 'live') AS env,
        coalesce(k.secret_hash, %(nobody)s) AS secret_hash, coalesce(k.scopes, '{events:write}') AS scopes,
        coalesce(k.tier, 'standard') AS tier, coalesce(k.is_active, true) AS is_active,
        coalesce(k.kill_switch, false) AS kill_switch, k.revoked_at,
        EXISTS (SELECT FROM kill_switches s WHERE s.scope = 'organization' AND s.organization_id = k.organization_id)
            AS organization_killed,
        EXISTS (SELECT FROM kill_switches s WHERE s.scope = 'global') AS global_killed
    FROM (VALUES (%(key_id)s::text)) AS asked (id)
        LEFT JOIN api_keys k ON k.id = asked.id LEFT JOIN organizations o ON o.id = k.organization_id
"""
_ONE: Final[LiteralString] = (
    _COLUMNS + "WHERE id = %(key_id)s AND (%(organization_id)s::text IS NULL OR organization_id = %(organization_id)s) "
)


async def standing_of(connection: Connection, key_id: str) -> KeyStanding:
    """Return what decides on a request with this key now.

    An id that does not exist gives a row of the same shape by the same way, with `known` false, so that the time that
    it takes does not tell whether it does.
    """
    standing = await fetch_one(connection, KeyStanding, _STANDING, {"key_id": key_id, "nobody": NOBODYS_HASH})
    assert standing is not None
    return standing


async def lock_standings(connection: Connection, *key_ids: str) -> dict[str, KeyStanding]:
    """Return the standing of several keys, and keep others from changing them until the transaction ends."""
    async with connection.cursor() as cursor:
        # In one order, whoever asks, so that two who act on each other do not wait for each other.
        await cursor.execute(
            "SELECT FROM api_keys WHERE id = ANY(%(ids)s) ORDER BY id FOR UPDATE", {"ids": sorted(set(key_ids))}
        )
    return {key_id: await standing_of(connection, key_id) for key_id in key_ids}


async def find_key(connection: Connection, key_id: str, organization_id: str | None = None) -> Key | None:
    """Return a key, or None; with an organization only where the key is one of its own."""
    return await fetch_one(
        connection,
        Key,
        _ONE,
        {"key_id": key_id, "organization_id": organization_id},
    )


async def lock_key(connection: Connection, key_id: str, organization_id: str | None = None) -> Key | None:
    """Return a key as `find_key` does, and keep others from changing it until the transaction ends."""
    return await fetch_one(
        connection,
        Key,
        _ONE + "FOR UPDATE",
        {"key_id": key_id, "organization_id": organization_id},
    )


async def list_keys(
    connection: Connection, organization_id: str | None, *, after: str | None = None, rows_max: int
) -> list[Key]:
    """Return keys by id, which is their age, from behind `after`; without an organization those of all."""
    return await fetch_all(
        connection,
        Key,
        _COLUMNS
        + """
        WHERE (%(organization_id)s::text IS NULL OR organization_id = %(organization_id)s)
            AND (%(after)s::text IS NULL OR id > %(after)s)
        ORDER BY id LIMIT %(rows_max)s
        """,
        {"organization_id": organization_id, "after": after, "rows_max": rows_max},
    )


async def insert_key(
    connection: Connection,
    *,
    key_id: str,
    organization_id: str,
    env: Env,
    name: str | None,
    secret_hash: str,
    scopes: list[str],
    tier: str,
) -> None:
    """Add a key. Raises `psycopg.errors.ForeignKeyViolation` where there is no such organization."""
    await change(
        connection,
        """
        INSERT INTO api_keys (id, organization_id, env, name, secret_hash, scopes, tier)
        VALUES (%(id)s, %(organization_id)s, %(env)s, %(name)s, %(secret_hash)s, %(scopes)s, %(tier)s)
        """,
        {
            "id": key_id,
            "organization_id": organization_id,
            "env": env,
            "name": name,
            "secret_hash": secret_hash,
            "scopes": scopes,
            "tier": tier,
        },
    )


async def set_key_kill(connection: Connection, key_id: str, *, killed: bool) -> None:
    """Turn a key's kill switch."""
    await change(
        connection,
        "UPDATE api_keys SET kill_switch = %(killed)s WHERE id = %(key_id)s",
        {"key_id": key_id, "killed": killed},
    )


async def set_key_secret(connection: Connection, key_id: str, secret_hash: str) -> None:
    """Give a key a new secret; whatever the old one was no longer counts."""
    await change(
        connection,
        "UPDATE api_keys SET secret_hash = %(secret_hash)s, rotated_at = now() WHERE id = %(key_id)s",
        {"key_id": key_id, "secret_hash": secret_hash},
    )


async def set_key_revoked(connection: Connection, key_id: str) -> None:
    """Retire a key for good."""
    await change(
        connection,
        "UPDATE api_keys SET is_active = false, revoked_at = coalesce(revoked_at, now()) WHERE id = %(key_id)s",
        {"key_id": key_id},
    )
