"""`ingest erase`: all that is kept of a person is asked to be erased. The plain value never leaves this process."""

import asyncio
import sys
from typing import Final

import click
import msgspec

from ingest.cli.store import as_json, change, found, login, optional_reason, optional_who, with_database
from ingest.control.erasures import request_erasure
from ingest.control.record import Actor, Unknown
from ingest.control.subjects import KnownBy, subjects_of
from ingest.db.database import Connection, Database
from ingest.db.queries.erasures import find_erasure
from ingest.db.queries.organizations import find_project
from ingest.db.rows import ErasureRow

VALUE_BYTES_MAX: Final = 64 * 1024
POLL_S: Final = 0.5
WAIT_S = 120.0
"""How long `--wait` waits; rows and spools are rid of somebody within a minute."""

_STDIN: Final = "-"


@click.command(context_settings={"allow_extra_args": True})
@click.option("--project", "project_id", required=True)
@click.option("--email", metavar="VALUE", help="An e-mail address, or its SHA-256.")
@click.option("--phone", metavar="VALUE", help="A phone number, with its + where it has one, or its SHA-256.")
@click.option("--user-id", metavar="VALUE", help="What apps send as user_id or app_user_id, exactly.")
@optional_reason
@optional_who
@click.option("--wait", is_flag=True, help="Wait until tables and spools are rid of the person; two minutes at most.")
@as_json
@click.pass_context
def erase(
    context: click.Context,
    *,
    project_id: str,
    email: str | None,
    phone: str | None,
    user_id: str | None,
    reason: str | None,
    actor: str | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Erase all that was received of a person until now, and print the id of the erasure.

    Give exactly one of --email, --phone and --user-id. `-` reads its value from a line of standard input, where no list
    of processes shows it. Whoever is known by several ids or digests is erased by naming each.
    """
    if context.args:  # they may be parts of the value, so they are not told
        raise click.UsageError("there are words too many; a value with spaces needs quotes, or `-`")
    given: list[tuple[KnownBy, str | None]] = [("email", email), ("phone", phone), ("user-id", user_id)]
    named = [(known_by, value) for known_by, value in given if value is not None]
    if len(named) != 1:
        raise click.UsageError("give exactly one of --email, --phone and --user-id")
    ((known_by, value),) = named
    if value == _STDIN:
        value = _line_of_stdin()
    if reason is not None and value.strip().lower() in reason.lower():
        raise click.UsageError("the reason holds the value; it is kept, and must not tell who is erased")
    subjects = subjects_of(known_by, value)

    async def ask(connection: Connection) -> ErasureRow:
        project = await find_project(connection, project_id)
        if project is None:
            raise Unknown("there is no such project")
        by = login() if actor is None else Actor.operator(actor)
        return await request_erasure(connection, by, project, subjects, reason=reason)

    row = change(ask)
    click.echo(msgspec.json.encode({"id": row.id}) if as_json else row.id)
    if wait:
        with_database(lambda database: _completed(database, row.id))


def _line_of_stdin() -> str:
    line: bytes = sys.stdin.buffer.read(VALUE_BYTES_MAX + 1)
    line = line.removesuffix(b"\n").removesuffix(b"\r")
    if len(line) >= VALUE_BYTES_MAX or b"\n" in line:
        raise click.UsageError("standard input must hold one line with the value")
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise click.ClickException("what was given is not all UTF-8") from None


async def _completed(database: Database, erasure_id: str) -> None:
    """Wait for an erasure, telling each step. Raises `click.ClickException` where that takes too long."""
    told = ""
    try:
        async with asyncio.timeout(WAIT_S):
            while told != "completed":
                row = found(await database.run(lambda connection: find_erasure(connection, erasure_id)), "erasure")
                if row.status != told:
                    told = row.status
                    click.echo(told, err=True)
                else:
                    await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise click.ClickException(
            f"not completed after {WAIT_S:.0f} s; is `ingest persist` running? See `ingest erasures show {erasure_id}`"
        ) from None
