"""`python -m bench.forward`: what a conversion costs, with platforms that take 50 ms to answer. Kept in `bench/out`.

The loop of the forwarding process runs over conversions that are in memory already, on a PostgreSQL that syncs, with
stand-ins for the platforms in a process of their own. Afterwards each conversion must be in the ledger and at its
platform, once. The last line has one of two destinations that never answers: what that costs, and how much memory.
"""

import asyncio
import json
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple
from uuid import uuid4

import click
import msgspec
import psutil
import psycopg

from bench.consumers import OUT, _Source
from bench.machine import machine
from devservices.platforms.process import PlatformsServer
from devservices.postgres import PostgresServer
from ingest.clock import SystemClock
from ingest.consume.dead_letter import DeadLetters
from ingest.consume.loop import Loop
from ingest.conversion import Conversion, ConversionMeta, ConversionRecord, Platform
from ingest.db.database import Database
from ingest.db.migrate import migrate
from ingest.forward.backlog import Backlog
from ingest.forward.caller import HttpCaller
from ingest.forward.decide import Hold
from ingest.forward.deliver import Delivery
from ingest.forward.figures import ForwardFigures
from ingest.forward.forwarder import Forwarder
from ingest.forward.ledger import Ledger
from ingest.forward.park import ParkingLot
from ingest.forward.platforms.meta import MetaConversions
from ingest.forward.platforms.tiktok import TikTokEvents
from ingest.forward.steps import ForwardStep
from ingest.forward.tables import DeliveryTable, KnownPeople
from ingest.registry.model import App, Forward, MetaForward, TikTokForward
from ingest.registry.snapshot import Snapshot
from ingest.telemetry.timestamp import Timestamps
from ingest.transport.contract import SCHEMA, Delivered, Topic
from ingest.transport.local_log import LocalLog
from ingest.transport.sealed import SealKeys
from ingest.wiring.forward import RECORDS_MAX

LATENCY_MS: Final = 50
DEADLINE_MS: Final = 60_000
_APPS: Final = 4
_DOWN: Final[list[dict[str, object]]] = [{"platform": "tiktok", "behaviour": {"do": "silent", "taken": False}}]


class Cost(NamedTuple):
    """What one way took: conversions a second, CPU of our own process for each, and its memory at most."""

    conversions_s: float
    cpu_us: float
    peak_mib: float


@click.command()
@click.option("--events", default=20_000, show_default=True, type=click.IntRange(1_000), help="Events of each round.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
def main(*, events: int, rounds: int) -> None:
    """Measure, and print a table of medians."""
    here = machine()
    click.echo(f"{here.cpu}, {here.cores} cores, Python {here.python}, commit {here.commit}\n")
    ways = {"one platform": (Platform.META,), "two platforms": tuple(Platform), "one of two never answers": None}
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    with (
        tempfile.TemporaryDirectory() as folder,
        PostgresServer(Path(folder) / "postgres") as postgres,
        PlatformsServer(Path(folder) / "platforms", latency_ms=LATENCY_MS) as platforms,
    ):
        for _ in range(rounds):
            for name, to in ways.items():
                dsn = postgres.create_database(f"b{uuid4().hex[:12]}")
                migrate(dsn)
                _control(platforms.url, _DOWN if to is None else [])
                sent_to = to or tuple(Platform)
                costs[name].append(
                    asyncio.run(_measured(dsn, platforms.url, _records(events, sent_to), Path(folder) / uuid4().hex))
                )
                _check(dsn, platforms.url, events, to or (Platform.META,))
    lines = ["| way | conversions/s | own CPU us/conversion | peak MiB |", "| --- | --- | --- | --- |"]
    for name, found in costs.items():
        speed, cpu, peak = (median(figures) for figures in zip(*found, strict=True))
        lines.append(f"| {name} | {speed:.0f} | {cpu:.0f} | {peak:.0f} |")
    click.echo("\n".join(lines))
    OUT.mkdir(exist_ok=True)
    kept = OUT / f"forward-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.json"
    kept.write_bytes(msgspec.json.format(msgspec.json.encode({"machine": here, "costs": costs}), indent=2) + b"\n")
    click.echo(f"kept as {kept}", err=True)


def _records(count: int, to: Sequence[Platform]) -> list[Delivered]:
    """Return realistic conversions of several apps, each with an id of its own, of now."""
    now = Timestamps().now()
    found = []
    for number in range(count):
        event_id, user = str(uuid4()), str(uuid4())
        meta = ConversionMeta(
            1, f"app_{number % _APPS}", "prj_demo", "org_demo", now, "req_1", "sdk", {}, event_id, "DE", "BE", "iOS"
        )
        event = Conversion(
            "purchase_success",
            now,
            dict.fromkeys(to, "Purchase"),
            app_user_id=user,
            user_id=user,
            install_id=str(uuid4()),
            platform="ios",
            os_version="17.5.1",
            app_version="4.12.0",
            device_model="iPhone15,3",
            locale="en-US",
            timezone="Europe/Berlin",
            screen_size="393x852",
            att_status="denied",
            email_sha256=(uuid4().hex * 2,),
            phone_sha256=(uuid4().hex * 2,),
            phone_e164_sha256=(uuid4().hex * 2,),
            user_agent="Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) AppleWebKit/605.1.15",
            value=9.99,
            currency="EUR",
            order_id=str(number),
            content_ids=("com.example.pro",),
        )
        value = msgspec.json.encode(ConversionRecord(meta, event))
        found.append(Delivered(Topic.FORWARD, 0, number, 1_000, event_id.encode(), value, SCHEMA))
    return found


class _Tokens:
    """A token for everybody."""

    def of(self, app_id: str, platform: Platform) -> str | Hold:
        """Return the token."""
        return f"token-{app_id}-{platform}"


async def _measured(dsn: str, url: str, records: Sequence[Delivered], folder: Path) -> Cost:
    """Run the loop of the forwarding process over the records."""
    clock, keys = SystemClock(), SealKeys(bytes(32))
    database = Database(dsn, "bench", connections_max=5, deadline_ms=DEADLINE_MS)
    await database.open()
    parked = LocalLog(folder, keys, bytes_max=2**30)
    await parked.start()
    forward = Forward(MetaForward(enabled=True, dataset_id="1"), TikTokForward(enabled=True, event_source_id="P"))
    apps = {
        app_id: App(
            id=app_id,
            project_id="prj_demo",
            organization_id="org_demo",
            forward=forward,
            web_url="https://example.com/",
        )
        for app_id in (f"app_{number}" for number in range(_APPS))
    }
    snapshot = Snapshot(apps)
    ledger = Ledger(DeliveryTable(database), ForwardFigures().count)
    caller = HttpCaller()
    forwarder = Forwarder(
        registry=lambda: snapshot,
        apis={Platform.META: MetaConversions(url, "v26.0"), Platform.TIKTOK: TikTokEvents(url)},
        tokens=_Tokens(),
        people=KnownPeople(database),
        ledger=ledger,
        delivery=Delivery(caller, ledger, clock),
        clock=clock,
    )
    lot = ParkingLot(parked, keys, ledger, clock, records_max=10**9, backlog=Backlog(lambda: None, lambda: None))
    source = _Source(records)
    letters = DeadLetters(parked, keys, "bench", clock, with_content=False)
    loop = Loop(source, ForwardStep(forwarder, lot, clock), letters, records_max=RECORDS_MAX)
    begun, cpu_begun = time.perf_counter(), time.process_time()
    running = asyncio.create_task(loop.run())
    peak, me = 0, psutil.Process()
    while not source.finished.is_set():
        peak = max(peak, me.memory_info().rss)
        await asyncio.sleep(0.05)
    took, cpu = time.perf_counter() - begun, time.process_time() - cpu_begun
    loop.stop()
    await running
    for part in (caller, parked, database):
        await part.close()
    return Cost(len(records) / took, cpu / len(records) * 1e6, peak / 2**20)


def _control(url: str, orders: list[dict[str, object]]) -> None:
    """Forget what came before, and give orders."""
    for path in ("/_control", "/_events"):
        urllib.request.urlopen(urllib.request.Request(f"{url}{path}", method="DELETE")).close()  # noqa: S310 - loopback
    if orders:
        body = json.dumps(orders).encode()
        urllib.request.urlopen(urllib.request.Request(f"{url}/_control", body, method="POST")).close()  # noqa: S310 - as above


def _check(dsn: str, url: str, events: int, answering: Sequence[Platform]) -> None:
    """Refuse figures that hide a loss."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT platform, count(*) FROM deliveries WHERE fate = 'sent' GROUP BY 1").fetchall()
    with urllib.request.urlopen(f"{url}/_totals") as answer:  # noqa: S310 - loopback
        totals = json.load(answer)
    wanted = {platform.value: events for platform in answering}
    if dict(rows) != wanted:
        raise click.ClickException(
            f"sent were {dict(rows)}, not {wanted}: these figures may not be believed ({totals})"
        )


if __name__ == "__main__":
    main()
