"""A whole run: start what is needed, let the cells take turns over the rounds, stop everything."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Final

from bench.cells import Latency, Throughput, latency, throughput
from bench.floor_server import APPS
from bench.floors import Floor, measure
from bench.machine import machine
from bench.report import Options, Report
from bench.servers import Server, edge, floor_server
from bench.workload import Workload, workload
from devservices.kafka import KafkaCluster

PARTS: Final = ("floors", "edge", "latency")
LOAD_PERCENTS: Final = (25, 50, 75)
LATENCY_EVENTS_MAX: Final = 100
FLOOR_SECONDS_SHARE: Final = 0.1
"""What a step without HTTP gets of the seconds of a cell; it needs little, as nothing else is running."""

Tell = Callable[[str], None]


def run(options: Options, tell: Tell) -> Report:
    """Return the figures that `options` ask for; `tell` hears one line a cell.

    Raises `StartError`, `LoadError` or `DevServiceError`, with nothing left running.
    """
    began_at, facts = datetime.now(UTC).isoformat(timespec="seconds"), machine()
    loads = [workload(events) for events in options.sizes]
    floors = list(_floors(options, loads, tell)) if "floors" in options.parts else []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as running:
        servers = _start(options, Path(folder), running, tell)
        rounds = list(_throughput(options, servers, loads, tell))
        answers = list(_latency(options, servers, loads, rounds, tell)) if "latency" in options.parts else []
        tell("stopping")
    return Report(
        began_at=began_at,
        machine=facts,
        options=options,
        event_bytes={load.events: load.event_bytes for load in loads},
        floors=tuple(floors),
        throughput=tuple(rounds),
        latency=tuple(answers),
    )


def _floors(options: Options, loads: Sequence[Workload], tell: Tell) -> Iterator[Floor]:
    for floor in measure(loads, rounds=options.rounds, seconds=options.seconds * FLOOR_SECONDS_SHARE):
        tell(f"{floor.name}, {floor.events} events: {floor.us_per_event:.2f} us an event")
        yield floor


def _start(options: Options, folder: Path, running: ExitStack, tell: Tell) -> list[Server]:
    """Start the servers of the asked parts; they all run at once, but only one is loaded at a time."""
    servers = []
    if "floors" in options.parts:
        servers += [running.enter_context(floor_server(name, folder)) for name in APPS]
    if {"edge", "latency"} & set(options.parts):
        tell("starting Kafka")
        cluster = running.enter_context(KafkaCluster(folder / "kafka", report=tell))
        for workers in (1, *([options.workers] if options.workers else [])):
            tell(f"starting the service, workers: {workers}")
            servers.append(running.enter_context(edge(folder, cluster.bootstrap, workers)))
    return servers


def _throughput(
    options: Options, servers: Sequence[Server], loads: Sequence[Workload], tell: Tell
) -> Iterator[Throughput]:
    for number in range(1, options.rounds + 1):
        for load in loads:
            for server in servers:
                cell = throughput(
                    server,
                    load,
                    connections=options.connections,
                    seconds=options.seconds,
                    wrk=options.generator == "wrk",
                )
                tell(
                    f"round {number}, {server.name}, {load.events} events: {cell.cpu_us_per_event:.2f} us an event,"
                    f" {cell.events_per_s:.0f} events/s, topic: {cell.account.check}"
                )
                yield cell


def _latency(
    options: Options, servers: Sequence[Server], loads: Sequence[Workload], rounds: Sequence[Throughput], tell: Tell
) -> Iterator[Latency]:
    for percent in LOAD_PERCENTS:
        for load in loads:
            for server in servers:
                if server.topic is None or load.events > LATENCY_EVENTS_MAX:
                    continue
                maximum = median(
                    cell.requests_per_s
                    for cell in rounds
                    if (cell.account.server, cell.account.events) == (server.name, load.events)
                )
                cell = latency(
                    server,
                    load,
                    connections=options.connections,
                    seconds=options.seconds,
                    maximum=maximum,
                    percent=percent,
                )
                tell(
                    f"{server.name}, {load.events} events, {percent}% of the maximum: p50 {cell.p50_ms:.1f} ms,"
                    f" p99 {cell.p99_ms:.1f} ms, topic: {cell.account.check}"
                )
                yield cell
