"""A destination of conversions stops or goes on again: audited, and told to the support and to its organization."""

from typing import Final

from ingest.control.record import Actor, Deed, record
from ingest.db.database import Connection
from ingest.db.queries.destinations import DestinationSeen, keep_destination, lock_destination
from ingest.db.queries.outbox import insert_message

ACTOR: Final = Actor.system("forward")


async def tell_destination(connection: Connection, organization_id: str, seen: DestinationSeen) -> bool:
    """Write down how it goes with a destination; return whether that was told to anybody.

    It is told once when it is paused, and once when it is no longer, in the transaction at hand.
    """
    app_id, platform, reason = seen.app_id, seen.platform, seen.reason
    before = await lock_destination(connection, app_id, platform)
    await keep_destination(connection, seen)
    was_paused, is_paused = before is not None and before.state == "paused", seen.state == "paused"
    if was_paused == is_paused:
        return False
    target_id = f"{app_id}/{platform}"
    deed = Deed("destination", "paused" if is_paused else "resumed", target_id, organization_id)
    event = await record(connection, ACTOR, deed, reason=reason or None)
    message = {
        "type": f"forward.{deed.verb}",
        "target": platform,
        "id": app_id,
        "organizationId": organization_id,
        "actor": ACTOR.name,
        "at": event.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "auditId": event.id,
        **({"reason": reason} if reason else {}),
    }
    await insert_message(connection, event.id.replace("aud_", "msg_", 1), organization_id, message)
    return True
