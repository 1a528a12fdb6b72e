"""`ingest spool`: what lies in the spools of this machine, whether it is sound, and its way to Kafka by hand."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ingest.cli.environment import read_settings
from ingest.cli.table import print_table
from ingest.clock import SystemClock
from ingest.db.database import Database
from ingest.edge.erasures import Erasures
from ingest.settings import Settings
from ingest.transport import spool_view
from ingest.transport.breaker import Breaker
from ingest.transport.contract import Delivered, Publisher, Unavailable
from ingest.transport.drain import PROBE_S, Drain
from ingest.transport.known_erased import KnownErased, nobody
from ingest.transport.log_format import Covers, Damage
from ingest.transport.spool_view import SpoolView
from ingest.transport.spools import spool_folders
from ingest.wiring.transport import SPOOL_FOLDER, kafka_publisher, open_spool, seal_keys

IDLE_S_MAX: Final = 60
"""Seconds without a record moved after which `drain` gives up."""


@click.group()
def spool() -> None:
    """Show, drain, verify and export what was spooled while Kafka was away."""


@spool.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def status(*, as_json: bool) -> None:
    """Show every spool: records stored, drained, waiting, set aside and erased, size, and the age of the oldest."""
    views = [spool_view.look(folder) for folder in _folders()]
    if as_json:
        click.echo(msgspec.json.encode([_document(view) for view in views]))
        return
    columns = ("spool", "in use", "stored", "drained", "waiting", "set aside", "erased", "MiB", "oldest")
    print_table(columns, [_row(view) for view in views])
    for view in views:
        for damage in view.damage:
            click.echo(f"spool {view.folder.name}: {damage}")


@spool.command()
def drain() -> None:
    """Move what waits in spools without a process to Kafka. Those in use are drained by their process."""
    settings = read_settings("tool")
    if settings.kafka_bootstrap is None:
        raise click.ClickException("INGEST_KAFKA_BOOTSTRAP is not set: there is nothing to drain to")
    asyncio.run(_drain_all(settings, [spool_view.look(folder) for folder in _folders()]))


@spool.command()
def verify() -> None:
    """Open every chunk and compare every count; exit code 1 and a line each where something is wrong."""
    keys, faults, checked = seal_keys(read_settings("tool")), 0, 0
    for folder in _folders():
        if spool_view.is_held(folder):
            click.echo(f"spool {folder.name} is in use, and is not checked", err=True)
            continue
        checked += 1
        for fault in spool_view.faults(folder, keys):
            faults += 1
            click.echo(f"spool {folder.name}: {fault}")
    if faults:
        raise click.ClickException(f"{faults} faults in {checked} spools")
    click.echo(f"ok: {checked} spools")


@spool.command()
@click.option("--out", type=click.File("wb"), default="-", help="Where to write; standard output by default.")
def export(out: BinaryIO) -> None:
    """Write every record that waits, one JSON document a line, with its topic, offset, timestamp and key."""
    keys = seal_keys(read_settings("tool"))
    views = [spool_view.look(folder) for folder in _folders()]
    with _progress() as progress:
        for view in views:
            task = progress.add_task(f"spool {view.folder.name}", total=view.totals.waiting)
            for record in spool_view.records(view.folder, keys):
                if isinstance(record, Damage):
                    progress.console.print(f"spool {view.folder.name}: {record}")
                else:
                    out.write(_line(record))
                    progress.advance(task)


async def _drain_all(settings: Settings, views: Sequence[SpoolView]) -> None:
    known = await _known_erased(settings)
    kafka = kafka_publisher(settings)
    await kafka.start()
    try:
        with _progress() as progress:
            for view in views:
                if view.in_use:
                    progress.console.print(f"spool {view.folder.name} is in use: its process drains it")
                elif view.totals.waiting:
                    await _drain(settings, view.folder, kafka, known, progress)
    finally:
        await kafka.close()


async def _known_erased(settings: Settings) -> KnownErased:
    """Return who is erased; nobody where there is no database or it is away, which is told in the log."""
    if settings.postgres_dsn is None:
        return nobody()
    known, database = KnownErased(), Database(settings.postgres_dsn.reveal(), "ingest-spool", connections_max=1)
    await database.open()
    try:
        await Erasures(database, known, _leave).look()
    finally:
        await database.close()
    return known


async def _leave(_: Covers) -> int:
    """Take nothing out: the drain does that with what it comes to."""
    return 0


async def _drain(settings: Settings, folder: Path, kafka: Publisher, known: KnownErased, progress: Progress) -> None:
    """Drain one spool. Raises `Unavailable` where nothing can be moved for a minute."""
    keys = seal_keys(settings)
    log = open_spool(settings, keys, folder)
    await log.start()
    drain = Drain(log, folder, keys, kafka, Breaker(), known=known)
    total, moved_s = log.totals.waiting, time.monotonic()
    task = progress.add_task(f"spool {folder.name}", total=total)
    try:
        while log.totals.waiting:
            if await drain.step():
                moved_s = time.monotonic()
                progress.update(task, completed=total - log.totals.waiting)
            elif time.monotonic() - moved_s > IDLE_S_MAX:
                raise Unavailable(f"nothing could be moved for {IDLE_S_MAX} s: {drain.fault}")
            else:
                await asyncio.sleep(PROBE_S)
    finally:
        drain.close()
        await log.close()


def _folders() -> list[Path]:
    return spool_folders(read_settings("tool").data_dir / SPOOL_FOLDER)


def _progress() -> Progress:
    """Return a progress bar on standard error; where that is no terminal it stays silent."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=console, disable=not console.is_terminal)


def _document(view: SpoolView) -> dict[str, object]:
    return {
        "spool": view.folder.name,
        "inUse": view.in_use,
        "stored": view.totals.stored,
        "drained": view.totals.deleted,
        "waiting": view.totals.waiting,
        "setAside": view.totals.lost,
        "erased": view.totals.erased,
        "bytes": view.bytes_used,
        "oldestMs": view.oldest_ms,
        "damage": [damage._asdict() for damage in view.damage],
    }


def _row(view: SpoolView) -> tuple[object, ...]:
    age_s = None if view.oldest_ms is None else max(0, SystemClock().now_ms() - view.oldest_ms) // 1000
    return (
        view.folder.name,
        "yes" if view.in_use else "no",
        *view.totals,
        round(view.bytes_used / 2**20, 1),
        "" if age_s is None else f"{age_s} s",
    )


def _line(record: Delivered) -> bytes:
    return (
        msgspec.json.encode(
            {
                "topic": record.topic,
                "offset": record.offset,
                "timestampMs": record.timestamp_ms,
                "key": record.key.decode(errors="replace"),
                "value": msgspec.Raw(record.value),
            }
        )
        + b"\n"
    )
