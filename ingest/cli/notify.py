"""`ingest notify`: tells the support and organizations what the outbox holds."""

import asyncio
import logging
import os
import signal

import click
import psycopg

from ingest.cli.environment import read_settings
from ingest.db.database import Database
from ingest.settings import Settings
from ingest.telemetry.log import Log
from ingest.telemetry.metric import Process
from ingest.telemetry.watch import Watch
from ingest.wiring.admin import Watched, admin_surface
from ingest.wiring.log import open_log


@click.command()
@click.option("--once", is_flag=True, help="Deliver what is due and end; exit code 1 if anything is left.")
@click.option("--console", is_flag=True, help="Print messages on standard error where no channel is configured.")
def notify(*, once: bool, console: bool) -> None:
    """Deliver messages about kill switches until SIGTERM, each again and again until it is taken.

    But for --once it answers the admin port as the edge does. Several of these processes may run at the same time.
    """
    settings = read_settings("dev") if console else read_settings("notify", os.environ)
    log = open_log(settings)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # else a line for each request
    try:
        asyncio.run(_deliver(settings, log, once=once, console=console))
    except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege):
        raise click.ClickException(
            "the database in INGEST_POSTGRES_DSN lacks a migration, or its role is no member of ingest_notify"
        ) from None
    finally:
        log.close()


async def _deliver(settings: Settings, log: Log, *, once: bool, console: bool) -> None:
    from ingest.notify.process import build_worker  # noqa: PLC0415 - its libraries are for this process alone

    if settings.postgres_dsn is None:
        raise click.ClickException("INGEST_POSTGRES_DSN is not set")
    database = Database(
        settings.postgres_dsn.reveal(), "ingest-notify", connections_max=settings.postgres_connections_max
    )
    worker = build_worker(settings, database, _print if console else None)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, worker.stop)
    await database.open()
    try:
        if not once:
            outbox = Watch("database", worker.backlog)
            watched = Watched(
                Process.NOTIFY,
                worker.reasons,
                lambda: worker.figures.samples(outbox.answer, outbox.age_s),
                (outbox,),
            )
            async with admin_surface(settings, watched, log):
                await worker.run()
            return
        await worker.step()
        left = await worker.backlog()
    finally:
        await database.close()
    if left.undelivered:
        raise click.ClickException(f"{left.undelivered} messages are undelivered, the oldest for {left.oldest_s:.0f} s")


def _print(line: str) -> None:
    click.echo(line, err=True)
