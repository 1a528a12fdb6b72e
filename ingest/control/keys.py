"""Partners' keys: created, rotated, revoked."""

from collections.abc import Sequence
from typing import Final, get_args

from psycopg.errors import ForeignKeyViolation

from ingest.control.record import Actor, Conflict, Deed, Unknown, record
from ingest.control.secrets import PartnerKey
from ingest.db.database import Connection
from ingest.db.queries.keys import find_key, insert_key, lock_key, set_key_revoked, set_key_secret
from ingest.db.rows import Env, Key

SCOPES: Final = ("events:write", "events:read", "events:erase", "keys:read", "keys:write", "audit:read")
"""Everything that a key may be allowed to do."""

ENVS: Final[tuple[Env, ...]] = get_args(Env)


async def create_key(
    connection: Connection,
    key: PartnerKey,
    secret_hash: str,
    organization_id: str,
    actor: Actor,
    *,
    scopes: Sequence[str],
    tier: str,
    name: str | None = None,
) -> Key:
    """Keep a minted key. Raises `Unknown` where there is no such organization."""
    try:
        await insert_key(
            connection,
            key_id=key.key_id,
            organization_id=organization_id,
            env=key.env,
            name=name,
            secret_hash=secret_hash,
            scopes=sorted(set(scopes)),
            tier=tier,
        )
    except ForeignKeyViolation:
        raise Unknown("there is no such organization") from None
    details = {"env": key.env, "scopes": sorted(set(scopes)), "tier": tier}
    await record(connection, actor, Deed("key", "created", key.key_id, organization_id), details=details)
    return await _present(connection, key.key_id)


async def rotate_key(
    connection: Connection, key_id: str, secret_hash: str, actor: Actor, *, organization_id: str | None = None
) -> Key:
    """Replace a key's secret; its kill switch stays as it is.

    Raises `Unknown`, and `Conflict` for a revoked key, which is never revived.
    """
    key = await lock_key(connection, key_id, organization_id)
    if key is None:
        raise Unknown("there is no such key")
    if not key.active:
        raise Conflict("the key is revoked; issue a new one")
    await set_key_secret(connection, key_id, secret_hash)
    await record(connection, actor, Deed("key", "rotated", key_id, key.organization_id))
    return await _present(connection, key_id)


async def revoke_key(
    connection: Connection,
    key_id: str,
    actor: Actor,
    *,
    reason: str | None = None,
    organization_id: str | None = None,
) -> Key:
    """Retire a key for good; one that is revoked already stays so, as does its kill switch. Raises `Unknown`."""
    key = await lock_key(connection, key_id, organization_id)
    if key is None:
        raise Unknown("there is no such key")
    if key.active:
        await set_key_revoked(connection, key_id)
        await record(connection, actor, Deed("key", "revoked", key_id, key.organization_id), reason=reason)
    return await _present(connection, key_id)


async def _present(connection: Connection, key_id: str) -> Key:
    key = await find_key(connection, key_id)
    assert key is not None
    return key
