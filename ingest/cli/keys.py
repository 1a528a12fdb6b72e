"""`ingest keys`: partners' keys."""

import click

from ingest.cli.store import as_json, ask, change, found, login, reason, show, show_one, who
from ingest.control.keys import ENVS, SCOPES, create_key, revoke_key, rotate_key
from ingest.control.record import Actor
from ingest.control.secrets import PartnerKey, hash_secret, mint
from ingest.counters.tiers import Tier
from ingest.db.queries.keys import find_key, list_keys
from ingest.db.rows import Env

ROWS_MAX = 100_000


@click.group()
def keys() -> None:
    """Create, show, rotate and revoke partners' keys."""


@keys.command()
@click.option("--org", "organization_id", required=True)
@click.option("--env", type=click.Choice(ENVS), required=True)
@click.option("--scope", "scopes", type=click.Choice(SCOPES), multiple=True, required=True)
@click.option("--tier", type=click.Choice([tier.value for tier in Tier]), default="standard", show_default=True)
@click.option("--name")
@as_json
def create(
    *, organization_id: str, env: Env, scopes: tuple[str, ...], tier: str, name: str | None, as_json: bool
) -> None:
    """Create a key and show it, this once."""
    key = mint(env)
    secret_hash = hash_secret(key.secret)
    change(
        lambda connection: create_key(
            connection, key, secret_hash, organization_id, login(), scopes=scopes, tier=tier, name=name
        )
    )
    _show_once(key, as_json=as_json)


@keys.command("list")
@click.option("--org", "organization_id")
@as_json
def list_(*, organization_id: str | None, as_json: bool) -> None:
    """List keys, of one organization or of all, without their secrets, which nobody has."""
    rows = ask(lambda connection: list_keys(connection, organization_id, rows_max=ROWS_MAX))
    columns = ("id", "organization_id", "env", "name", "scopes", "tier", "is_active", "kill_switch", "created_at")
    show(rows, columns, as_json=as_json)


@keys.command("show")
@click.argument("key_id")
@as_json
def show_(*, key_id: str, as_json: bool) -> None:
    """Show one key."""
    show_one(found(ask(lambda connection: find_key(connection, key_id)), "key"), as_json=as_json)


@keys.command()
@click.argument("key_id")
@who
@as_json
def rotate(*, key_id: str, actor: str, as_json: bool) -> None:
    """Give a key a new secret and show it, this once; the old one fails on its next request."""
    env = found(ask(lambda connection: find_key(connection, key_id)), "key").env
    key = mint(env, key_id)
    secret_hash = hash_secret(key.secret)
    change(lambda connection: rotate_key(connection, key_id, secret_hash, Actor.operator(actor)))
    _show_once(key, as_json=as_json)


@keys.command()
@click.argument("key_id")
@reason
@who
@as_json
def revoke(*, key_id: str, reason: str, actor: str, as_json: bool) -> None:
    """Retire a key for good."""
    row = change(lambda connection: revoke_key(connection, key_id, Actor.operator(actor), reason=reason))
    show_one(row, as_json=as_json)


def _show_once(key: PartnerKey, *, as_json: bool) -> None:
    click.echo(f'{{"id": "{key.key_id}", "key": "{key.text()}"}}' if as_json else key.text())
