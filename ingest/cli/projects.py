"""`ingest projects`: what the apps of an organization are grouped by."""

import click

from ingest.cli.store import as_json, ask, change, found, login, show, show_one
from ingest.control.organizations import create_project
from ingest.db.queries.organizations import find_project, list_projects


@click.group()
def projects() -> None:
    """Create and show projects."""


@projects.command()
@click.option("--org", "organization_id", required=True)
@click.option("--name", required=True)
@as_json
def create(*, organization_id: str, name: str, as_json: bool) -> None:
    """Create a project."""
    made = change(lambda connection: create_project(connection, organization_id, name, login()))
    click.echo(f'{{"id": "{made}"}}' if as_json else made)


@projects.command("list")
@click.option("--org", "organization_id")
@as_json
def list_(*, organization_id: str | None, as_json: bool) -> None:
    """List projects, of one organization or of all."""
    rows = ask(lambda connection: list_projects(connection, organization_id))
    show(rows, ("id", "organization_id", "name", "created_at"), as_json=as_json)


@projects.command("show")
@click.argument("project_id")
@as_json
def show_(*, project_id: str, as_json: bool) -> None:
    """Show one project."""
    show_one(found(ask(lambda connection: find_project(connection, project_id)), "project"), as_json=as_json)
