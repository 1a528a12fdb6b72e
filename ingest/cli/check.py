"""`ingest check`: whether a start would go well, and what is configured that should not stay so."""

from collections.abc import Iterator

import click
import psycopg

from ingest.cli.environment import read_settings
from ingest.clock import SystemClock
from ingest.db.database import DatabaseAway
from ingest.registry.snapshot import RegistryError
from ingest.registry.toml_file import read_registry
from ingest.settings import Settings
from ingest.settings_rules import warnings


@click.command()
def check() -> None:
    """Check the settings and what they lead to.

    Prints one line for each finding: exit code 1 where something would not work, 0 where there are warnings alone.
    """
    settings = read_settings("tool")
    for line in warnings(settings):
        click.echo(f"warning: {line}")
    faults = list(_faults(settings))
    for line in faults:
        click.echo(f"fault: {line}")
    if faults:
        raise click.ClickException(f"{len(faults)} of the things that were looked at do not hold up")
    click.echo("ok")


def _faults(settings: Settings) -> Iterator[str]:
    if settings.postgres_dsn is None and settings.apps_file is None:
        yield "neither INGEST_POSTGRES_DSN nor INGEST_APPS_FILE is set: no app would be known"
    if settings.apps_file is not None:
        try:
            read_registry(settings.apps_file, SystemClock().now_ms())
        except RegistryError as error:
            yield f"INGEST_APPS_FILE cannot be used: {error}"
    if settings.postgres_dsn is None:
        return
    from ingest.db.migrate import pending  # noqa: PLC0415 - its libraries are for those who migrate

    try:
        if pending(settings.postgres_dsn.reveal()):
            yield "the schema of INGEST_POSTGRES_DSN is not up to date; run `ingest migrate`"
    except DatabaseAway:
        yield "the database in INGEST_POSTGRES_DSN cannot be reached"
    except psycopg.errors.InsufficientPrivilege:
        yield "the role in INGEST_POSTGRES_DSN may not read the schema's version: make it a member of ingest_serving"
