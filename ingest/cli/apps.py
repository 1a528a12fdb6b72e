"""`ingest apps`: the apps that may send, from the database or from a registry file."""

import tomllib
from pathlib import Path
from typing import Any

import click
import msgspec

from ingest.cli.app_config import config
from ingest.cli.environment import read_settings
from ingest.cli.store import as_json, ask, change, found, login, reason, show_one, who
from ingest.cli.table import print_table
from ingest.clock import SystemClock
from ingest.control.organizations import change_app, create_app, revoke_app
from ingest.control.record import Actor
from ingest.db.queries.organizations import find_app
from ingest.db.queries.registry import registry_document
from ingest.registry.document import Reading, app_options, read_document, read_options
from ingest.registry.model import App, Options
from ingest.registry.snapshot import Snapshot
from ingest.registry.toml_file import read_registry

options_file = click.option(
    "--options",
    "options_path",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="TOML file with what may be chosen for an app: the optional members of `[apps.…]` in a registry file.",
)


@click.group()
def apps() -> None:
    """Create, change, show and check the apps that may send."""


apps.add_command(config)


@apps.command()
@click.option("--project", "project_id", required=True)
@click.option("--name", required=True)
@click.option("--id", "app_id", help="The id that SDKs send; made up where it is left out.")
@click.option("--environment", help="What records say where the event itself says nothing.")
@options_file
@as_json
def create(
    *,
    project_id: str,
    name: str,
    app_id: str | None,
    environment: str | None,
    options_path: Path | None,
    as_json: bool,
) -> None:
    """Create an app."""
    options = _options(options_path)
    row = change(
        lambda connection: create_app(
            connection, project_id, name, login(), app_id=app_id, environment=environment, options=options
        )
    )
    click.echo(f'{{"id": "{row.id}"}}' if as_json else row.id)


@apps.command("change")
@click.argument("app_id")
@click.option("--environment", help="What records say where the event itself says nothing.")
@options_file
@as_json
def change_(*, app_id: str, environment: str | None, options_path: Path | None, as_json: bool) -> None:
    """Replace an app's options by those of a file, and its environment; what is left out gets its default.

    Only what `apps config` has set stays, unless the file has a `remote_config` of its own.
    """
    options = app_options(_options(options_path))
    row = change(lambda connection: change_app(connection, app_id, login(), environment=environment, options=options))
    show_one(row, as_json=as_json)


@apps.command("show")
@click.argument("app_id")
@as_json
def show_(*, app_id: str, as_json: bool) -> None:
    """Show one app of the database."""
    show_one(found(ask(lambda connection: find_app(connection, app_id)), "app"), as_json=as_json)


@apps.command()
@click.argument("app_id")
@reason
@who
@as_json
def revoke(*, app_id: str, reason: str, actor: str, as_json: bool) -> None:
    """Retire an app for good."""
    row = change(lambda connection: revoke_app(connection, app_id, Actor.operator(actor), reason=reason))
    show_one(row, as_json=as_json)


@apps.command("list")
@as_json
def list_apps(*, as_json: bool) -> None:
    """List the apps of the registry with what they may do."""
    snapshot, problems = _registry()
    for problem in problems:
        click.echo(f"warning: {problem}", err=True)
    if as_json:
        click.echo(msgspec.json.encode(list(snapshot.apps.values())))
        return
    columns = ("id", "name", "project", "organization", "state", "events/min")
    print_table(columns, [_row(app, snapshot) for app in snapshot.apps.values()])


@apps.command()
def check() -> None:
    """Check the registry: exit code 0 where the edge would take it, else 1 and every fault."""
    snapshot, problems = _registry()
    if problems:
        raise click.ClickException("; ".join(problems))
    click.echo(f"ok: {len(snapshot.apps)} apps")


def _registry() -> Reading:
    settings = read_settings("tool")
    if settings.apps_file is not None:
        return Reading(read_registry(settings.apps_file, SystemClock().now_ms()), ())
    if settings.postgres_dsn is None:
        raise click.ClickException(
            "neither INGEST_POSTGRES_DSN nor INGEST_APPS_FILE is set: there is no registry, and every app is refused"
        )
    return read_document(ask(registry_document), SystemClock().now_ms(), complete=True)


def _options(path: Path | None) -> Options:
    if path is None:
        return Options()
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        return read_options(content)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise click.ClickException(f"the options do not hold up: {error}") from None


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
