"""`ingest migrate`: the schema of the database, brought up to date."""

import click
import psycopg

from ingest.cli.environment import read_settings


@click.command()
def migrate() -> None:
    """Bring the schema of INGEST_POSTGRES_DSN up to date; safe twice, and from several processes at once."""
    from ingest.db.migrate import SchemaNewer  # noqa: PLC0415 - its libraries are for this command alone
    from ingest.db.migrate import migrate as apply  # noqa: PLC0415

    dsn = read_settings("tool").postgres_dsn
    if dsn is None:
        raise click.ClickException("INGEST_POSTGRES_DSN is not set")
    try:
        before, after = apply(dsn.reveal())
    except psycopg.errors.InsufficientPrivilege:
        raise click.ClickException(
            "the role in INGEST_POSTGRES_DSN may not change the schema; use its owner, who may also create roles"
        ) from None
    except SchemaNewer:
        raise click.ClickException("the schema is newer than this version of the service; it is left alone") from None
    click.echo(f"up to date at {after}" if before == after else f"migrated from {before or 'nothing'} to {after}")
