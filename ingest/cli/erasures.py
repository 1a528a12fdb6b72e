"""`ingest erasures`: what was asked to be erased, and how far that has come."""

import click

from ingest.cli.store import as_json, ask, found, show, show_one
from ingest.db.queries.erasures import find_erasure, list_erasures


@click.group()
def erasures() -> None:
    """Show what was asked to be erased; of whom, they do not tell."""


@erasures.command("list")
@click.option("--project", "project_id", help="Of one project, else of all.")
@click.option("-n", "--last", default=50, show_default=True, type=click.IntRange(1, 100_000), help="How many at most.")
@as_json
def list_(*, project_id: str | None, last: int, as_json: bool) -> None:
    """List erasures, newest first."""
    rows = ask(lambda connection: list_erasures(connection, project_id, rows_max=last))
    show(rows, ("id", "project_id", "status", "requested_at", "completed_at"), as_json=as_json)


@erasures.command("show")
@click.argument("erasure_id", metavar="ID")
@as_json
def show_(*, erasure_id: str, as_json: bool) -> None:
    """Show one erasure with the number of rows that are gone."""
    row = ask(lambda connection: find_erasure(connection, erasure_id))
    show_one(found(row, "erasure"), as_json=as_json)
