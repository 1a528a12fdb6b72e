"""Kill switches: turned on and lifted, never silently.

Each turn writes its audit event and a message for the support and the organizations concerned, in one transaction.
Turning a switch that stands so already changes nothing and tells nobody.
"""

from typing import Literal

from ingest.control.record import Actor, Deed, Unknown, Verb, record
from ingest.conversion import Platform
from ingest.db.database import Connection
from ingest.db.queries.keys import lock_key, set_key_kill
from ingest.db.queries.kills import Switch, turn_off, turn_on
from ingest.db.queries.organizations import find_organization, lock_app, set_app_kill
from ingest.db.queries.outbox import insert_message

Scope = Literal["key", "organization", "global", "platform"]


async def turn_key(
    connection: Connection,
    key_id: str,
    actor: Actor,
    *,
    killed: bool,
    reason: str,
    organization_id: str | None = None,
) -> bool:
    """Turn a key's switch; False where it stood so. With an organization only one of its own keys is found.

    Raises `Unknown`.
    """
    key = await lock_key(connection, key_id, organization_id)
    if key is None:
        raise Unknown("there is no such key")
    if key.kill_switch == killed:
        return False
    await set_key_kill(connection, key_id, killed=killed)
    await _tell(connection, actor, "key", Deed("key", _verb(killed), key_id, key.organization_id), reason)
    return True


async def turn_app(connection: Connection, app_id: str, actor: Actor, *, killed: bool, reason: str) -> bool:
    """Turn an app's switch, which counts as the key of its SDKs; False where it stood so. Raises `Unknown`."""
    app = await lock_app(connection, app_id)
    if app is None:
        raise Unknown("there is no such app")
    if app.kill_switch == killed:
        return False
    await set_app_kill(connection, app_id, killed=killed)
    await _tell(connection, actor, "key", Deed("app", _verb(killed), app_id, app.organization_id), reason)
    return True


async def turn_organization(
    connection: Connection, organization_id: str, actor: Actor, *, killed: bool, reason: str
) -> bool:
    """Turn the switch of an organization; False where it stood so. Raises `Unknown`."""
    if await find_organization(connection, organization_id) is None:
        raise Unknown("there is no such organization")
    deed = Deed("organization", _verb(killed), organization_id, organization_id)
    return await _turn(connection, Switch("organization", organization_id), actor, deed, reason)


async def turn_global(connection: Connection, actor: Actor, *, killed: bool, reason: str) -> bool:
    """Turn the switch for everybody; False where it stood so."""
    return await _turn(connection, Switch("global"), actor, Deed("global", _verb(killed), "global", None), reason)


async def turn_platform(connection: Connection, platform: Platform, actor: Actor, *, killed: bool, reason: str) -> bool:
    """Turn the switch by which nothing is sent to a platform; False where it stood so. No sender is refused for it."""
    deed = Deed("platform", _verb(killed), platform.value, None)
    return await _turn(connection, Switch("platform", platform=platform.value), actor, deed, reason)


async def _turn(connection: Connection, switch: Switch, actor: Actor, deed: Deed, reason: str) -> bool:
    turned = await (
        turn_on(connection, switch, reason, actor.name) if deed.verb == "killed" else turn_off(connection, switch)
    )
    if turned:
        await _tell(connection, actor, switch.scope, deed, reason)
    return turned


def _verb(killed: bool) -> Verb:  # noqa: FBT001 - it says what it is
    return "killed" if killed else "lifted"


async def _tell(connection: Connection, actor: Actor, scope: Scope, deed: Deed, reason: str) -> None:
    event = await record(connection, actor, deed, reason=reason)
    message = {
        "type": f"kill_switch.{'on' if deed.verb == 'killed' else 'off'}",
        "scope": scope,
        "target": deed.target,
        "id": deed.target_id,
        "organizationId": deed.organization_id,
        "reason": reason,
        "actor": actor.name,
        "at": event.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "auditId": event.id,
    }
    await insert_message(connection, event.id.replace("aud_", "msg_", 1), deed.organization_id, message)
