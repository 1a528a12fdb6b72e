"""Queries on the kill switches above the single key or app."""

from typing import Literal, NamedTuple

from ingest.db.database import Connection
from ingest.db.rows import KillSwitch, change, fetch_all


class Switch(NamedTuple):
    """A switch above the single key or app: the global one, that of an organization, or that of a platform."""

    scope: Literal["organization", "global", "platform"]
    organization_id: str | None = None
    platform: str | None = None


async def turn_on(connection: Connection, switch: Switch, reason: str, actor: str) -> bool:
    """Turn a switch on; False where it was on already."""
    touched = await change(
        connection,
        """
        INSERT INTO kill_switches (scope, organization_id, platform, reason, actor)
        VALUES (%(scope)s, %(organization_id)s, %(platform)s, %(reason)s, %(actor)s)
        ON CONFLICT DO NOTHING
        """,
        {**switch._asdict(), "reason": reason, "actor": actor},
    )
    return touched > 0


async def turn_off(connection: Connection, switch: Switch) -> bool:
    """Lift a switch; False where it was not on."""
    touched = await change(
        connection,
        """
        DELETE FROM kill_switches WHERE scope = %(scope)s AND organization_id IS NOT DISTINCT FROM %(organization_id)s
            AND platform IS NOT DISTINCT FROM %(platform)s
        """,
        switch._asdict(),
    )
    return touched > 0


async def list_kills(connection: Connection) -> list[KillSwitch]:
    """Return the switches that are on, oldest first."""
    return await fetch_all(
        connection,
        KillSwitch,
        "SELECT scope, organization_id, platform, reason, actor, turned_on_at FROM kill_switches ORDER BY turned_on_at",
    )
