"""`ingest kill`: kill switches, turned on and lifted; never silently."""

import click
import msgspec

from ingest.cli.store import as_json, ask, change, reason, show, who
from ingest.control.kills import turn_app, turn_global, turn_key, turn_organization, turn_platform
from ingest.control.record import Actor
from ingest.control.secrets import is_key_id
from ingest.conversion import Platform
from ingest.db.database import Connection
from ingest.db.queries.kills import list_kills

SCOPES = ("key", "organization", "global", "platform")


@click.group()
def kill() -> None:
    """Turn kill switches on, lift them, and list those above the single key that are on."""


def _turn(scope: str, target_id: str | None, why: str, actor: str, *, killed: bool, as_json: bool) -> None:
    if (scope == "global") != (target_id is None):
        raise click.UsageError("`global` takes no ID, the others need one")
    if scope == "platform" and target_id not in list(Platform):
        raise click.UsageError(f"the ID of a platform is one of {', '.join(Platform)}")
    by = Actor.operator(actor)

    async def work(connection: Connection) -> bool:
        if target_id is None:
            return await turn_global(connection, by, killed=killed, reason=why)
        if scope == "organization":
            return await turn_organization(connection, target_id, by, killed=killed, reason=why)
        if scope == "platform":
            return await turn_platform(connection, Platform(target_id), by, killed=killed, reason=why)
        if is_key_id(target_id):
            return await turn_key(connection, target_id, by, killed=killed, reason=why)
        return await turn_app(connection, target_id, by, killed=killed, reason=why)

    changed = change(work)
    if as_json:
        click.echo(msgspec.json.encode({"scope": scope, "id": target_id, "killed": killed, "changed": changed}))
        return
    state = "on" if killed else "off"
    click.echo(f"the kill switch is {state}" if changed else f"the kill switch was {state} already")


@kill.command()
@click.argument("scope", type=click.Choice(SCOPES))
@click.argument("target_id", metavar="[ID]", required=False)
@reason
@who
@as_json
def on(*, scope: str, target_id: str | None, reason: str, actor: str, as_json: bool) -> None:
    """Switch off a key (ID of a key or an app), an organization (its ID), everybody (`global`), or a platform.

    Nothing is sent to a platform that is switched off (`meta`, `tiktok`); events are taken all the same.
    """
    _turn(scope, target_id, reason, actor, killed=True, as_json=as_json)


@kill.command()
@click.argument("scope", type=click.Choice(SCOPES))
@click.argument("target_id", metavar="[ID]", required=False)
@reason
@who
@as_json
def off(*, scope: str, target_id: str | None, reason: str, actor: str, as_json: bool) -> None:
    """Lift what `kill on` has switched off."""
    _turn(scope, target_id, reason, actor, killed=False, as_json=as_json)


@kill.command("list")
@as_json
def list_(*, as_json: bool) -> None:
    """List the switches above the single key or app that are on; `keys list` and `apps list` show the rest."""
    columns = ("scope", "organization_id", "platform", "reason", "actor", "turned_on_at")
    show(ask(list_kills), columns, as_json=as_json)
