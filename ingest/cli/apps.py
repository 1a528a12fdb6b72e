"""`ingest apps`: the registry of apps as the edge would read it."""

import click
import msgspec

from ingest.cli.environment import read_settings
from ingest.cli.table import print_table
from ingest.clock import SystemClock
from ingest.registry.model import App
from ingest.registry.snapshot import Snapshot
from ingest.registry.toml_file import read_registry


@click.group()
def apps() -> None:
    """Show and check the apps that may send."""


@apps.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_apps(*, as_json: bool) -> None:
    """List the apps of the registry with what they may do."""
    snapshot = _snapshot()
    if as_json:
        click.echo(msgspec.json.encode(list(snapshot.apps.values())))
        return
    columns = ("id", "name", "project", "organization", "state", "events/min")
    print_table(columns, [_row(app, snapshot) for app in snapshot.apps.values()])


@apps.command()
def check() -> None:
    """Check the registry file: exit code 0 where the edge would take it, else 1 and every fault."""
    snapshot = _snapshot()
    click.echo(f"ok: {len(snapshot.apps)} apps")


def _snapshot() -> Snapshot:
    path = read_settings("tool").apps_file
    if path is None:
        raise click.ClickException("INGEST_APPS_FILE is not set: there is no registry, and every app is refused")
    return read_registry(path, SystemClock().now_ms())


def _row(app: App, snapshot: Snapshot) -> tuple[object, ...]:
    return (
        app.id,
        app.name or "",
        app.project_id,
        app.organization_id,
        _state(app, snapshot),
        app.events_per_minute_max or "",
    )


def _state(app: App, snapshot: Snapshot) -> str:
    if app.kill_switch:
        return "killed"
    if not app.active:
        return "revoked"
    if app.organization_id in snapshot.kills.organizations:
        return "killed with its organization"
    return "killed with all" if snapshot.kills.global_ else "active"
