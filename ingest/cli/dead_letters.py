"""`ingest dead-letters`: records that consumers have set aside."""

import asyncio
from datetime import UTC, datetime

import click
import msgspec

from ingest.cli.environment import read_settings
from ingest.cli.store import as_json
from ingest.cli.table import print_table
from ingest.consume.dead_letter import DeadLetter
from ingest.settings import Settings
from ingest.wiring.persist import read_dead_letters, replay_dead_letters


@click.group("dead-letters")
def dead_letters() -> None:
    """List records that could not be used, and try them again."""


@dead_letters.command("list")
@as_json
def list_(*, as_json: bool) -> None:
    """List dead letters, oldest first: why, whose, and where they were."""
    letters = asyncio.run(read_dead_letters(_settings()))
    if as_json:
        click.echo(msgspec.json.encode([_shown(letter) for letter in letters]))
        return
    columns = ("received", "consumer", "reason", "record", "app", "event", "bytes", "content")
    print_table(columns, [_row(letter) for letter in letters])


@dead_letters.command()
@click.option("--reason", help="Only those that were set aside for this reason.")
def replay(*, reason: str | None) -> None:
    """Try dead letters again, as after an update; what still cannot be used stays where it is.

    It is safe to do so twice: a row that is there already is left as it is. Records of which the content was not kept,
    as those that were to be forwarded, are passed over.
    """
    done, left = asyncio.run(replay_dead_letters(_settings(), reason))
    click.echo(f"{done} records are rows now, {left} still cannot be used")


def _settings() -> Settings:
    settings = read_settings("dev")
    if settings.postgres_dsn is None:
        raise click.ClickException("INGEST_POSTGRES_DSN is not set, and no `ingest dev` is running here")
    return settings


def _shown(letter: DeadLetter) -> dict[str, object]:
    shown: dict[str, object] = msgspec.to_builtins(letter)
    shown.pop("sealed", None)
    shown["content_kept"] = bool(letter.sealed)
    return shown


def _row(letter: DeadLetter) -> tuple[object, ...]:
    at = datetime.fromtimestamp(letter.timestamp_ms / 1_000, UTC).isoformat(timespec="seconds")
    record = f"{letter.topic}/{letter.partition}/{letter.offset}"
    ids = letter.app_id or "", letter.event_id or ""
    return at, letter.consumer, letter.reason, record, *ids, letter.size_bytes, "kept" if letter.sealed else "not kept"
