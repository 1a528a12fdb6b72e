"""`ingest persist`: from records to rows."""

import asyncio
import os
import signal

import click
import psycopg

from ingest.cli.environment import read_settings
from ingest.consume.loop import Brake
from ingest.settings import Settings
from ingest.telemetry.log import Log
from ingest.wiring.admin import admin_surface
from ingest.wiring.log import open_log
from ingest.wiring.persist import build_persist


@click.command()
@click.option("--dev", is_flag=True, help="Take the settings and the key of a running `ingest dev`.")
@click.option("--from-oldest", is_flag=True, help="Read all that the topics still hold, as into a new database.")
def persist(*, dev: bool, from_oldest: bool) -> None:
    """Write events from the transport into PostgreSQL until SIGTERM, each once.

    It answers the admin port as the edge does. On Kafka several of these processes share the partitions.
    """
    settings = read_settings("dev") if dev else read_settings("persist", os.environ)
    if settings.postgres_dsn is None:
        raise click.ClickException("INGEST_POSTGRES_DSN is not set")
    log = open_log(settings)
    try:
        asyncio.run(_persist(settings, log, from_oldest=from_oldest))
    except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege):
        raise click.ClickException(
            "the database in INGEST_POSTGRES_DSN lacks a migration, or its role is no member of ingest_persist"
        ) from None
    except Brake:
        raise click.ClickException(
            "too many records cannot be used: not they are at fault, but this version; nothing of them was committed"
        ) from None
    finally:
        log.close()


async def _persist(settings: Settings, log: Log, *, from_oldest: bool) -> None:
    parts = build_persist(settings, from_oldest=from_oldest)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, parts.worker.stop)
    await parts.database.open()
    try:
        async with admin_surface(settings, parts.watched, log):
            try:
                await parts.publisher.start()
                async with parts.retention.at_work():
                    await parts.worker.run()
            finally:
                await parts.publisher.close()
    finally:
        await parts.database.close()
