"""`ingest vault`: the tokens by which platforms know us. None is ever printed."""

import sys
from collections.abc import Awaitable, Callable
from typing import Final

import click
import msgspec

from ingest.cli.environment import read_settings
from ingest.cli.store import as_json, ask, change, login, optional_who, show, show_one, with_database
from ingest.control.record import Actor
from ingest.conversion import Platform
from ingest.db.database import Connection, Database

INPUT_BYTES_MAX: Final = 64 * 1024

_of_app = click.option("--app", "app_id", required=True, help="The app whose conversions are forwarded.")
_for_platform = click.option(
    "--platform", type=click.Choice([each.value for each in Platform]), required=True, help="To whom it belongs."
)
_no_words = {"allow_extra_args": True}
"""Words too many may be the token, so click is not to repeat them."""


@click.group()
def vault() -> None:
    """Keep, replace and delete the tokens of platforms, and seal them anew.

    They are sealed under the first key of INGEST_VAULT_KEY, which `ingest forward` and these commands alone are given.
    """


@vault.command(context_settings=_no_words)
@_of_app
@_for_platform
@optional_who
@as_json
@click.pass_context
def put(context: click.Context, *, app_id: str, platform: str, actor: str | None, as_json: bool) -> None:
    """Keep the token that stands on standard input, in place of the one that the app has for the platform, if any."""
    from ingest.vault.changes import put as keep  # noqa: PLC0415 - no process that serves may open what is sealed

    _store(keep, context, app_id, platform, actor, as_json=as_json)


@vault.command(context_settings=_no_words)
@_of_app
@_for_platform
@optional_who
@as_json
@click.pass_context
def rotate(context: click.Context, *, app_id: str, platform: str, actor: str | None, as_json: bool) -> None:
    """Replace the token that an app has for a platform by the one on standard input."""
    from ingest.vault.changes import rotate as replace  # noqa: PLC0415 - as above

    _store(replace, context, app_id, platform, actor, as_json=as_json)


@vault.command("list")
@as_json
def list_(*, as_json: bool) -> None:
    """List whose tokens there are, under which key each is sealed, and since when."""
    from ingest.db.queries.vault import list_tokens  # noqa: PLC0415 - as above

    columns = ("id", "app_id", "platform", "key_id", "created_at", "replaced_at", "resealed_at")
    show(ask(list_tokens), columns, as_json=as_json)


@vault.command()
@_of_app
@_for_platform
@optional_who
@as_json
def delete(*, app_id: str, platform: str, actor: str | None, as_json: bool) -> None:
    """Let go of the token that an app has for a platform."""
    from ingest.vault.changes import delete as let_go  # noqa: PLC0415 - as above
    from ingest.vault.seal import Place  # noqa: PLC0415

    place, by = Place(app_id, Platform(platform)), _by(actor)
    row = change(lambda connection: let_go(connection, place, by))
    show_one(row, as_json=as_json)


@vault.command()
@optional_who
@as_json
def reseal(*, actor: str | None, as_json: bool) -> None:
    """Seal every token under the first key that is still sealed under another one.

    It may be stopped at any moment and run twice. Exit code 1 where a token is left that none of the keys opens.
    """
    from ingest.vault.changes import Resealed  # noqa: PLC0415 - as above
    from ingest.vault.changes import reseal as seal_anew  # noqa: PLC0415
    from ingest.wiring.vault import vault_keys  # noqa: PLC0415

    keys, by = vault_keys(read_settings("tool")), _by(actor)

    def progress(count: int) -> None:
        if sys.stderr.isatty():
            click.echo(f"{count} tokens have a new seal", err=True)

    async def work(database: Database) -> Resealed:
        return await seal_anew(database, keys, by, progress)

    done = with_database(work)
    if as_json:
        click.echo(msgspec.json.encode({"resealed": done.tokens, "unopened": done.unopened, "key_id": keys.first_id}))
    else:
        click.echo(f"{done.tokens} tokens have a new seal, under key {keys.first_id}")
    if done.unopened:
        raise click.ClickException(
            f"none of the keys opens {len(done.unopened)} tokens: give their key too, behind the first one, or put them"
            f" anew ({', '.join(done.unopened)})"
        )


def _store(
    keep: Callable[..., Awaitable[msgspec.Struct]],
    context: click.Context,
    app_id: str,
    platform: str,
    actor: str | None,
    *,
    as_json: bool,
) -> None:
    """Read a token, keep it, and show all but the token."""
    from ingest.vault.seal import Place, read_token  # noqa: PLC0415 - as above
    from ingest.wiring.vault import vault_keys  # noqa: PLC0415

    if context.args:
        raise click.UsageError("there are words too many; the token stands on standard input alone")
    keys, by = vault_keys(read_settings("tool")), _by(actor)
    place, token = Place(app_id, Platform(platform)), read_token(_input())

    async def work(connection: Connection) -> msgspec.Struct:
        return await keep(connection, keys, place, token, by)

    show_one(change(work), as_json=as_json)


def _input() -> str:
    """Return what stands on standard input; at a terminal it is asked for, and not shown."""
    if sys.stdin.isatty():
        asked: str = click.prompt("Token", hide_input=True, err=True)
        return asked
    return sys.stdin.buffer.read(INPUT_BYTES_MAX).decode("ascii", "replace")


def _by(actor: str | None) -> Actor:
    return login() if actor is None else Actor.operator(actor)
