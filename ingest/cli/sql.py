"""`ingest sql`: a question to the database, answered as a table."""

import asyncio

import click
import msgspec
import psycopg
from psycopg.rows import dict_row

from ingest.cli.environment import read_settings
from ingest.cli.store import as_json
from ingest.cli.table import print_table
from ingest.db.database import connection_arguments


@click.command()
@click.argument("query")
@as_json
def sql(*, query: str, as_json: bool) -> None:
    """Ask INGEST_POSTGRES_DSN, in a transaction that may change nothing: ingest sql "select count(*) from events"."""
    dsn = read_settings("tool").postgres_dsn
    if dsn is None:
        raise click.ClickException("INGEST_POSTGRES_DSN is not set, and no `ingest dev` is running here")
    try:
        columns, rows = asyncio.run(_ask(dsn.reveal(), query))
    except psycopg.Error as error:
        raise click.ClickException(error.diag.message_primary or type(error).__name__) from None
    if as_json:
        click.echo(msgspec.json.encode(rows, enc_hook=str))
        return
    print_table(columns, [tuple("" if value is None else value for value in row.values()) for row in rows])


async def _ask(dsn: str, query: str) -> tuple[list[str], list[dict[str, object]]]:
    async with (
        await psycopg.AsyncConnection.connect(dsn, **connection_arguments(dsn, "ingest-sql")) as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        await connection.set_read_only(True)
        await connection.set_autocommit(False)
        await cursor.execute(query.encode())
        if cursor.description is None:
            return [], []
        return [column.name for column in cursor.description], await cursor.fetchall()
