"""`ingest orgs`: the organizations that send."""

import click

from ingest.cli.store import as_json, ask, change, found, login, show, show_one
from ingest.control.organizations import change_contact, create_organization
from ingest.db.queries.organizations import find_organization, list_organizations


@click.group()
def orgs() -> None:
    """Create and show organizations."""


@orgs.command()
@click.option("--name", required=True)
@click.option("--contact", required=True, help="An e-mail address or a URL; told whenever a kill switch is turned.")
@as_json
def create(*, name: str, contact: str, as_json: bool) -> None:
    """Create an organization."""
    made = change(lambda connection: create_organization(connection, name, contact, login()))
    click.echo(f'{{"id": "{made}"}}' if as_json else made)


@orgs.command("list")
@as_json
def list_(*, as_json: bool) -> None:
    """List all organizations."""
    show(ask(list_organizations), ("id", "name", "contact", "created_at"), as_json=as_json)


@orgs.command("show")
@click.argument("organization_id")
@as_json
def show_(*, organization_id: str, as_json: bool) -> None:
    """Show one organization."""
    row = ask(lambda connection: find_organization(connection, organization_id))
    show_one(found(row, "organization"), as_json=as_json)


@orgs.command()
@click.argument("organization_id")
@click.option("--to", "to", required=True, help="An e-mail address or a URL.")
def contact(*, organization_id: str, to: str) -> None:
    """Change whom an organization's messages go to."""
    change(lambda connection: change_contact(connection, organization_id, to, login()))
