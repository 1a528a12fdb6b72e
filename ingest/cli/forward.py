"""`ingest forward`: conversions to the platforms, how that goes, and a try."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Sequence

import click
import msgspec
import psycopg

from ingest.cli.environment import read_settings
from ingest.cli.store import as_json, ask, with_database
from ingest.cli.table import print_table
from ingest.consume.loop import Brake
from ingest.control.forward_status import DestinationStatus, forward_status
from ingest.conversion import Platform
from ingest.settings import Settings
from ingest.telemetry.log import Log
from ingest.wiring.admin import admin_surface
from ingest.wiring.log import open_log


@click.group(invoke_without_command=True)
@click.option("--dev", is_flag=True, help="Take the settings and the keys of a running `ingest dev`.")
@click.pass_context
def forward(context: click.Context, *, dev: bool) -> None:
    """Send conversions to advertising platforms until SIGTERM; or tell how that goes.

    On Kafka several of these processes share the partitions.
    """
    if context.invoked_subcommand is not None:
        return
    settings = read_settings("dev") if dev else read_settings("forward", os.environ)
    if settings.postgres_dsn is None:
        raise click.ClickException("INGEST_POSTGRES_DSN is not set")
    log = open_log(settings)
    for library in ("httpx", "httpcore", "hpack"):
        logging.getLogger(library).setLevel(logging.WARNING)  # else lines for each call, headers among them
    try:
        asyncio.run(_forward(settings, log))
    except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege):
        raise click.ClickException(
            "the database in INGEST_POSTGRES_DSN lacks a migration, or its role is no member of ingest_forward"
        ) from None
    except Brake:
        raise click.ClickException(
            "too many records cannot be used: not they are at fault, but this version; nothing of them was committed"
        ) from None
    finally:
        log.close()


async def _forward(settings: Settings, log: Log) -> None:
    from ingest.wiring.forward import build_forward  # noqa: PLC0415 - what opens tokens is for this process alone

    parts = build_forward(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, parts.worker.stop)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(parts.database.close)
        await parts.database.open()
        await stack.enter_async_context(admin_surface(settings, parts.watched, log))
        stack.push_async_callback(parts.registry.close)
        await parts.registry.start()
        stack.push_async_callback(parts.caller.close)
        await parts.tokens.start()
        stack.push_async_callback(parts.publisher.close)
        await parts.publisher.start()
        if parts.forgetting is not None:
            stack.push_async_callback(parts.forgetting.close)
            await parts.forgetting.start()
        await parts.worker.run()


@forward.command()
@click.option("--app", "app_id", help="Only this app.")
@click.option("--hours", default=24, show_default=True, type=click.IntRange(1, 720), help="Deliveries so far back.")
@as_json
def status(*, app_id: str | None, hours: int, as_json: bool) -> None:
    """Tell how it goes with every destination: its state and why, last success, and how its conversions ended."""
    told = ask(lambda connection: forward_status(connection, app_id, hours=hours))
    if as_json:
        click.echo(msgspec.json.encode(told))
        return
    columns = ("app", "platform", "state", "reason", "since", "last success", "sent", "success", "others")
    print_table(columns, [_row(each) for each in told.destinations])
    click.echo(f"{told.lag_records} records wait, {told.parked_records} are parked, {told.workers} processes forward")


def _row(each: DestinationStatus) -> Sequence[object]:
    others = " ".join(f"{name}={count}" for name, count in each.others.items())
    success = "" if each.success_share is None else f"{each.success_share:.1%}"
    times = [at.isoformat(timespec="seconds") if at else "" for at in (each.since, each.last_success_at)]
    return each.app_id, each.platform, each.state, each.reason, *times, each.sent, success, others


@forward.command("test")
@click.option("--app", "app_id", required=True)
@click.option("--platform", type=click.Choice([each.value for each in Platform]), required=True)
@click.option("--code", "test_code", required=True, help="Test code that the platform shows for this dataset or pixel.")
@as_json
def test_(*, app_id: str, platform: str, test_code: str, as_json: bool) -> None:
    """Send one synthetic event as a test, and show what the platform answers."""
    from ingest.wiring.forward_try import try_forward  # noqa: PLC0415 - as above

    settings = read_settings("tool")
    tried = with_database(lambda database: try_forward(database, settings, app_id, Platform(platform), test_code))
    if as_json:
        click.echo(msgspec.json.encode(tried))
    else:
        click.echo(f"HTTP {tried.status}, understood as {tried.verdict}")
        click.echo(tried.answer)
    if not tried.accepted:
        raise click.ClickException("the platform did not take the event")
