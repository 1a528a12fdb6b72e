"""How operators' commands work on the database: one connection, one piece of work, and every failure told in a line."""

import asyncio
import getpass
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import click
import msgspec
import psycopg

from ingest.cli.environment import read_settings
from ingest.cli.table import print_table
from ingest.control.record import ACTOR_CHARACTERS_MAX, REASON_CHARACTERS_MAX, Actor
from ingest.control.secrets import without_secrets
from ingest.db.database import DEADLINE_MS, Connection, Database

T = TypeVar("T")

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def _text(characters_max: int) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    def check(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
        if value is None:
            return None
        if not value.strip() or len(value) > characters_max:
            raise click.BadParameter(f"must be 1 to {characters_max} characters, not all of them blank")
        return without_secrets(value)

    return check


_is_actor = _text(ACTOR_CHARACTERS_MAX - len(Actor.operator("").name))
_WHO: Final = "Who decided; kept in the audit log"

reason = click.option(
    "--reason",
    required=True,
    callback=_text(REASON_CHARACTERS_MAX),
    help="Why; kept in the audit log and told to whom it concerns.",
)
optional_reason = click.option("--reason", callback=_text(REASON_CHARACTERS_MAX), help="Why; kept in the audit log.")
who = click.option("--actor", required=True, callback=_is_actor, help=f"{_WHO}.")
optional_who = click.option("--actor", callback=_is_actor, help=f"{_WHO}; else the one who is logged in.")


def ask(work: Callable[[Connection], Awaitable[T]]) -> T:
    """Return what `work` finds in the database."""
    return with_database(lambda database: database.run(work))


def change(work: Callable[[Connection], Awaitable[T]]) -> T:
    """Do `work` in one transaction and return what it returns."""
    return with_database(lambda database: database.transact(work))


def with_database(work: Callable[[Database], Awaitable[T]], *, deadline_ms: int = DEADLINE_MS) -> T:
    """Do several pieces of work on the database, each within the deadline."""
    return asyncio.run(_on_database(work, deadline_ms))


def login() -> Actor:
    """Return the person at the command line, where the command does not ask who decided."""
    return Actor.operator(getpass.getuser())


def show(rows: Sequence[Any], columns: Sequence[str], *, as_json: bool) -> None:
    """Print rows with these members: as a table, or whole as one JSON document."""
    if as_json:
        click.echo(msgspec.json.encode(rows))
        return
    print_table(columns, [tuple(_cell(getattr(row, column)) for column in columns) for row in rows])


def show_one(row: Any, *, as_json: bool) -> None:
    """Print one row: a line for each member, or one JSON document."""
    if as_json:
        click.echo(msgspec.json.encode(row))
        return
    print_table(("member", "value"), [(name, _cell(getattr(row, name))) for name in row.__struct_fields__])


def found(row: T | None, what: str) -> T:
    """Return the row. Raises `click.ClickException` where there is none."""
    if row is None:
        raise click.ClickException(f"there is no such {what}")
    return row


def _cell(value: Any) -> object:
    if value is None:
        return ""
    if isinstance(value, list):
        return " ".join(value)
    if isinstance(value, dict):
        return msgspec.json.encode(value).decode()
    return value.isoformat(timespec="seconds") if hasattr(value, "isoformat") else value


async def _on_database(work: Callable[[Database], Awaitable[T]], deadline_ms: int) -> T:
    dsn = read_settings("tool").postgres_dsn
    if dsn is None:
        raise click.ClickException("INGEST_POSTGRES_DSN is not set, and no `ingest dev` is running here")
    database = Database(dsn.reveal(), "ingest-operator", connections_max=1, deadline_ms=deadline_ms)
    await database.open()
    try:
        return await work(database)
    except psycopg.errors.UndefinedTable:
        raise click.ClickException("the database has no schema yet; run `ingest migrate`") from None
    except (psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedFunction):
        raise click.ClickException("the database lacks a migration; run `ingest migrate`") from None
    except psycopg.errors.InsufficientPrivilege:
        raise click.ClickException("the role in INGEST_POSTGRES_DSN may not do this") from None
    except psycopg.errors.CheckViolation as error:
        raise click.ClickException(f"a value does not hold up: {error.diag.constraint_name}") from None
    except UnicodeEncodeError:
        raise click.ClickException("what was given is not all UTF-8") from None
    finally:
        await database.close()
