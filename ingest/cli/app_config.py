"""`ingest apps config`: what an app's clients are told to do, in the database."""

import tomllib
from pathlib import Path
from typing import Any

import click
import msgspec

from ingest.cli.store import ask, change, found, login, optional_reason, optional_who
from ingest.control.record import Actor
from ingest.control.remote_config import (
    MEMBERS,
    OPTION,
    Edit,
    change_remote_config,
    replaced,
    with_member,
    without_member,
    without_platform,
)
from ingest.db.queries.organizations import find_app
from ingest.registry.document import read_options
from ingest.registry.remote_config import RemoteConfig, document, known_platform

_platform = click.option("--platform", metavar="NAME", help="Only what clients of this platform are told instead.")


@click.group()
@click.argument("app_id")
@click.pass_context
def config(context: click.Context, app_id: str) -> None:
    """Show and change what an app's clients are told to do."""
    context.obj = app_id


@config.command()
@click.option("--platform", metavar="NAME", help="What clients of this platform are answered, as they get it.")
@click.pass_obj
def show(app_id: str, platform: str | None) -> None:
    """Show what is set, as JSON."""
    row = found(ask(lambda connection: find_app(connection, app_id)), "app")
    try:
        set_now = read_options(row.options).remote_config
    except msgspec.ValidationError as error:
        raise click.ClickException(f"the app's options do not hold up and are not in force: {error}") from None
    if platform is None:
        _echo(set_now)
    else:
        click.echo(document(set_now, known_platform(set_now, platform)))


@config.command("set")
@click.argument("member", required=False, type=click.Choice(MEMBERS))
@click.argument("value", required=False)
@click.option("--file", "path", metavar="FILE", help="All of it, in JSON; TOML where it ends so; - is standard input.")
@_platform
@optional_reason
@optional_who
@click.pass_obj
def set_(
    app_id: str,
    *,
    member: str | None,
    value: str | None,
    path: str | None,
    platform: str | None,
    reason: str | None,
    actor: str | None,
) -> None:
    """Set a MEMBER to a VALUE in JSON, or all of it by a file."""
    if (path is None) != (value is not None):
        raise click.UsageError("give a member and its value in JSON, or --file")
    if path is not None:
        edit = replaced(_content(path), platform)
    else:
        assert member is not None
        edit = with_member(member, _json(value or ""), platform)
    _change(app_id, edit, reason, actor)


@config.command()
@click.argument("member", required=False, type=click.Choice(MEMBERS))
@_platform
@optional_reason
@optional_who
@click.pass_obj
def unset(app_id: str, *, member: str | None, platform: str | None, reason: str | None, actor: str | None) -> None:
    """Take a MEMBER away, or without one all of it."""
    if member is not None:
        edit = without_member(member, platform)
    else:
        edit = replaced({}, None) if platform is None else without_platform(platform)
    _change(app_id, edit, reason, actor)


def _change(app_id: str, edit: Edit, reason: str | None, actor: str | None) -> None:
    who = login() if actor is None else Actor.operator(actor)
    _echo(change(lambda connection: change_remote_config(connection, app_id, edit, who, reason=reason)))


def _echo(set_now: RemoteConfig) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(set_now), indent=2))


def _content(path: str) -> Any:
    try:
        with click.open_file(path, encoding="utf-8") as file:
            text = file.read()
        if path.endswith(".toml"):
            content: dict[str, Any] = tomllib.loads(text)
            return content.get(OPTION, content)
    except OSError as error:
        raise click.ClickException(f"{Path(path).name}: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise click.ClickException(f"{Path(path).name} is not TOML: {error}") from None
    return _json(text)


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise click.ClickException(f"the value is not JSON, where a text has its quotes: {error}") from None
