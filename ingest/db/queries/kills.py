"""Queries on the kill switches above the single key or app."""

from ingest.db.database import Connection
from ingest.db.rows import KillSwitch, change, fetch_all


async def turn_on(connection: Connection, organization_id: str | None, reason: str, actor: str) -> bool:
    """Switch off an organization, or with None everybody; False where that was so already."""
    touched = await change(
        connection,
        """
        INSERT INTO kill_switches (scope, organization_id, reason, actor)
        VALUES (CASE WHEN %(organization_id)s::text IS NULL THEN 'global' ELSE 'organization' END,
            %(organization_id)s, %(reason)s, %(actor)s)
        ON CONFLICT DO NOTHING
        """,
        {"organization_id": organization_id, "reason": reason, "actor": actor},
    )
    return touched > 0


async def turn_off(connection: Connection, organization_id: str | None) -> bool:
    """Lift the switch of an organization, or with None the one for everybody; False where it was not on."""
    touched = await change(
        connection,
        "DELETE FROM kill_switches WHERE organization_id IS NOT DISTINCT FROM %(organization_id)s",
        {"organization_id": organization_id},
    )
    return touched > 0


async def list_kills(connection: Connection) -> list[KillSwitch]:
    """Return the switches that are on, oldest first."""
    return await fetch_all(
        connection,
        KillSwitch,
        "SELECT scope, organization_id, reason, actor, turned_on_at FROM kill_switches ORDER BY turned_on_at",
    )
