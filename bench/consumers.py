"""`python -m bench.consumers`: what a row costs, beside the least that the same rows can cost. Kept in `bench/out`.

The same events become rows of the same table, on a PostgreSQL that syncs, in four ways: by `persist` as it runs, its
records in memory; by the same where every batch holds repeats; by `COPY` of lines that were made before, as psql would;
and by `executemany`. The ways take turns. CPU is worth more than the clock on a machine that has other work.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple
from uuid import uuid4

import click
import msgspec
import psycopg

from bench.machine import machine
from bench.processes import usage
from bench.workload import workload
from devservices.postgres import PostgresServer
from ingest.clock import SystemClock
from ingest.consume.dead_letter import DeadLetters
from ingest.consume.loop import Loop
from ingest.db.database import Database
from ingest.db.migrate import migrate
from ingest.db.queries.events import EVENT_COLUMNS
from ingest.event import Record
from ingest.persist.row import COLUMNS, to_row
from ingest.persist.writer import CONSUMER, EventWriter
from ingest.pipeline.decode import decode
from ingest.pipeline.process import process
from ingest.pipeline.request import NO_AGENT, NOWHERE, Limits, Request
from ingest.registry.model import App
from ingest.telemetry.timestamp import Timestamps
from ingest.transport.contract import SCHEMA, Delivered, Topic
from ingest.transport.memory import MemoryTransport
from ingest.transport.sealed import SealKeys
from normalize import OwnAddresses

OUT: Final = Path(__file__).with_name("out")
DEADLINE_MS: Final = 60_000
REPEATED_EVERY: Final = 1_000
"""Of so many records one comes twice, where there are repeats."""

_LIMITS: Final = Limits(events_max=1_000, event_bytes_max=32 * 1024, nesting_max=64)


class Cost(NamedTuple):
    """What one way took: rows a second, and CPU a row of our own process and of all of PostgreSQL's."""

    rows_s: float
    cpu_us: float
    server_cpu_us: float


@click.command()
@click.option("--rows", default=100_000, show_default=True, type=click.IntRange(1_000), help="Rows of each round.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
def main(*, rows: int, rounds: int) -> None:
    """Measure, and print a table of medians."""
    here = machine()
    click.echo(f"{here.cpu}, {here.cores} cores, Python {here.python}, commit {here.commit}\n")
    ways: dict[str, tuple[Callable[[Sequence[Delivered]], Any], Callable[[str, Any], Awaitable[None]]]] = {
        "persist": (lambda records: records, _persist),
        "persist, repeats": (_with_repeats, _persist),
        "COPY alone": (lambda records: b"".join(to_row(each).line for each in records), _copy),
        "executemany": (lambda records: [_values(each) for each in records], _executemany),
    }
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder, PostgresServer(Path(folder) / "postgres") as postgres:
        for _ in range(rounds):
            for name, (prepare, way) in ways.items():
                dsn = postgres.create_database(f"b{uuid4().hex[:12]}")
                migrate(dsn)
                records = _records(rows)
                given = prepare(records)
                assert postgres.pid is not None
                costs[name].append(asyncio.run(_measured(way(dsn, given), len(records), postgres.pid)))
                _check(dsn, len(records))
    lines = _table(costs)
    click.echo("\n".join(lines))
    OUT.mkdir(exist_ok=True)
    kept = OUT / f"consumers-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.json"
    kept.write_bytes(msgspec.json.format(msgspec.json.encode({"machine": here, "costs": costs}), indent=2) + b"\n")
    click.echo(f"kept as {kept}", err=True)


def _table(costs: dict[str, list[Cost]]) -> list[str]:
    lines = ["| way | rows/s | of COPY | own CPU us/row | PostgreSQL's CPU us/row |", "| --- " * 5 + "|"]
    best = median(cost.rows_s for cost in costs["COPY alone"])
    for name, found in costs.items():
        rows_s, cpu_us, server_cpu_us = (median(figures) for figures in zip(*found, strict=True))
        lines.append(f"| {name} | {rows_s:.0f} | {rows_s / best:.2f} | {cpu_us:.1f} | {server_cpu_us:.1f} |")
    return lines


def _records(count: int) -> list[Delivered]:
    """Return records of realistic events, each with an id of its own and today's time stamp."""
    bodies, records = workload(100).bodies, list[Delivered]()
    now = Timestamps().now()
    request = Request(
        app=App(id="app_demo", project_id="prj_demo", organization_id="org_demo"),
        request_id="req_01KB000000000000000000000A",
        received_at=now,
        region=NOWHERE,
        agent=NO_AGENT,
        own=OwnAddresses(()),
    )
    while len(records) < count:
        body = msgspec.json.decode(bodies[len(records) // 100 % len(bodies)])
        for event in body["events"]:
            event |= {"event_id": str(uuid4()), "timestamp": now, "app_id": "app_demo"}
        done = process(decode(msgspec.json.encode(body), events_max=1_000), request, _LIMITS)
        records += [_delivered(len(records) + number, each) for number, each in enumerate(done.records)]
    return records[:count]


def _delivered(offset: int, record: Record) -> Delivered:
    return Delivered(Topic.EVENTS, 0, offset, 1_000, record.key, record.value, SCHEMA)


def _with_repeats(records: Sequence[Delivered]) -> list[Delivered]:
    return [each for at, record in enumerate(records) for each in [record] * (1 + (at % REPEATED_EVERY == 0))]


async def _measured(work: Awaitable[None], rows: int, server: int) -> Cost:
    server_begun_s = usage(server).cpu_s
    begun, cpu_begun = time.perf_counter(), time.process_time()
    await work
    took, cpu = time.perf_counter() - begun, time.process_time() - cpu_begun
    return Cost(rows / took, cpu / rows * 1e6, (usage(server).cpu_s - server_begun_s) / rows * 1e6)


class _Source:
    """Hands out records that are there already."""

    def __init__(self, records: Sequence[Delivered]) -> None:
        self._records = records
        self._at = 0
        self.finished = asyncio.Event()
        """Set once everything that was handed out is done."""

    async def start(self) -> None:
        """Begin."""

    async def poll(self, records_max: int, wait_ms: int) -> Sequence[Delivered]:
        """Return the next records."""
        del wait_ms
        if self._at >= len(self._records):
            self.finished.set()
            await asyncio.sleep(0)
        found = self._records[self._at : self._at + records_max]
        self._at += len(found)
        return found

    async def commit(self) -> None:
        """Remember nothing."""

    async def lag_records(self) -> int | None:
        """Tell how many are left."""
        return len(self._records) - self._at

    async def close(self) -> None:
        """End."""


async def _persist(dsn: str, records: Sequence[Delivered]) -> None:
    """Run the loop of the persisting process over the records."""
    database = Database(dsn, "bench", connections_max=2, deadline_ms=DEADLINE_MS)
    await database.open()
    clock = SystemClock()
    writer = EventWriter(database, clock)
    source = _Source(records)
    loop = Loop(source, writer, DeadLetters(MemoryTransport(), SealKeys(bytes(32)), CONSUMER, clock))
    running = asyncio.create_task(loop.run())
    await source.finished.wait()
    loop.stop()
    await running
    await database.close()


async def _copy(dsn: str, lines: bytes) -> None:
    """Copy lines straight into the table, in one piece, as psql does."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection, connection.cursor() as cursor:
        await cursor.execute("SELECT make_day_partition('events', current_date)")
        async with cursor.copy("COPY events (" + EVENT_COLUMNS + ") FROM STDIN") as copy:
            await copy.write(lines)


async def _executemany(dsn: str, values: Sequence[Sequence[str | None]]) -> None:
    """Insert row by row, as the driver batches them."""
    marks = ", ".join(["%s"] * len(COLUMNS))
    insert = f"INSERT INTO events ({EVENT_COLUMNS}) VALUES ({marks}) ON CONFLICT DO NOTHING"  # noqa: S608 - constants
    async with await psycopg.AsyncConnection.connect(dsn) as connection, connection.cursor() as cursor:
        await cursor.execute("SELECT make_day_partition('events', current_date)")
        await cursor.executemany(insert.encode(), values)


def _values(record: Delivered) -> list[str | None]:
    fields = to_row(record).line[:-1].split(b"\t")
    return [None if field == b"\\N" else field.decode().replace("\\\\", "\\") for field in fields]


def _check(dsn: str, rows: int) -> None:
    with psycopg.connect(dsn) as connection:
        (found,) = connection.execute("SELECT count(*) FROM events").fetchone() or (0,)
    if found != rows:
        raise click.ClickException(f"there are {found} rows, not {rows}: these figures may not be believed")


if __name__ == "__main__":
    main()
