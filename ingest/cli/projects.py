"""`ingest projects`: what the apps of an organization are grouped by."""

import re

import click

from ingest.cli.environment import read_settings
from ingest.cli.store import as_json, ask, change, found, login, show, show_one
from ingest.control.organizations import change_events_retention, create_project
from ingest.db.queries.organizations import find_project, list_projects


@click.group()
def projects() -> None:
    """Create, change and show projects."""


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
    show(rows, ("id", "organization_id", "name", "created_at", "events_retention_days"), as_json=as_json)


@projects.command("show")
@click.argument("project_id")
@as_json
def show_(*, project_id: str, as_json: bool) -> None:
    """Show one project."""
    show_one(found(ask(lambda connection: find_project(connection, project_id)), "project"), as_json=as_json)


@projects.command("set")
@click.argument("project_id")
@click.option(
    "--events-retention-days",
    "days",
    required=True,
    metavar="N|default",
    callback=lambda _context, _parameter, value: _days(value),
    help="How long events are kept: 30 days or more, and no more than the default.",
)
@as_json
def set_(*, project_id: str, days: int | None, as_json: bool) -> None:
    """Change a project."""
    default_days = read_settings("tool").events_retention_days
    project = change(
        lambda connection: change_events_retention(connection, project_id, days, default_days, login()),
    )
    show_one(project, as_json=as_json)


def _days(value: str) -> int | None:
    if value == "default":
        return None
    if re.fullmatch(r"[0-9]{1,6}", value) is None:
        raise click.BadParameter("must be a number of days, or the word default")
    return int(value)
