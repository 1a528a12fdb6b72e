"""The result of a run as JSON, and as tables to read; the tables are Markdown."""

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Final

import msgspec

from bench.cells import Account, Latency, Throughput
from bench.floors import Floor
from bench.machine import Machine

LEAST_WORK: Final = "the same, append, build"
LEAST_SERVER: Final = "starlette"
EDGE: Final = "edge"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a run was asked for."""

    parts: tuple[str, ...]
    sizes: tuple[int, ...]
    seconds: float
    rounds: int
    connections: int
    workers: int | None
    generator: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run: one `Throughput` a round, one `Floor` and one `Latency` a cell, `faults` empty where all is well."""

    began_at: str
    machine: Machine
    options: Options
    event_bytes: dict[int, float]
    floors: tuple[Floor, ...]
    throughput: tuple[Throughput, ...]
    latency: tuple[Latency, ...]

    def faults(self) -> list[str]:
        """Tell which figures may not be believed, one line each."""
        accounts = [cell.account for cell in self.throughput] + [cell.account for cell in self.latency]
        return [fault for account in accounts if (fault := account.fault()) is not None]


def encode(report: Report) -> bytes:
    """Return the report as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def tables(report: Report) -> str:
    """Return everything as text."""
    parts = [_machine_lines(report), _floor_table(report), _throughput_table(report)]
    parts += [_ratio_table(report), _flatness(report), _latency_table(report)]
    faults = report.faults()
    if faults:
        parts.append("FAULTS: these figures may not be believed.\n\n" + "\n".join(f"- {fault}" for fault in faults))
    return "\n\n".join(part for part in parts if part) + "\n"


def _machine_lines(report: Report) -> str:
    machine, options = report.machine, report.options
    libraries = ", ".join(f"{name} {number}" for name, number in machine.libraries.items())
    sizes = ", ".join(f"{size:.0f} at {events}" for events, size in report.event_bytes.items())
    return (
        f"{report.began_at}, commit {machine.commit}: {machine.cpu}, {machine.cores} cores, {machine.memory_mib} MiB, "
        f"{machine.system}, load {machine.load_1m:.1f} before; Python {machine.python}, {libraries}.\n"
        f"{options.rounds} rounds of {options.seconds:g} s, {options.connections} connections, "
        f"generator: {options.generator}. Bytes an event: {sizes} events a request."
    )


def _floor_table(report: Report) -> str:
    names = list(dict.fromkeys(floor.name for floor in report.floors))
    rows = []
    for name in names:
        cells = [floor for floor in report.floors if floor.name == name]
        rows.append(
            [name, *(f"{it.us_per_event:.2f} ({it.us_per_event_min:.2f}-{it.us_per_event_max:.2f})" for it in cells)]
        )
    sizes = dict.fromkeys(f"{floor.events} a batch" for floor in report.floors)
    return _table("Without HTTP and Kafka: CPU us an event, median (range)", ["step", *sizes], rows)


def _throughput_table(report: Report) -> str:
    rows = []
    for events, server, cells in _groups(report.throughput):
        costs = [cell.cpu_us_per_event for cell in cells]
        rows.append(
            [
                str(events),
                server,
                f"{_mid(cells, 'cpu_us_per_request'):.0f}",
                f"{median(costs):.2f} ({min(costs):.2f}-{max(costs):.2f})",
                f"{_mid(cells, 'requests_per_s'):.0f}",
                f"{_mid(cells, 'events_per_s'):.0f}",
                f"{_mid(cells, 'server_cores'):.2f}",
                f"{median(cell.account.generator_cores for cell in cells):.2f}",
                f"{max(max(cell.worker_mib) for cell in cells):.0f}",
                f"{max(cell.peak_mib for cell in cells):.0f}",
                str(sum(cell.account.refused for cell in cells)),
                _checks(cell.account for cell in cells),
            ]
        )
    head = ["events", "server", "CPU us/request", "CPU us/event (range)", "requests/s", "events/s", "cores"]
    head += ["generator's", "MiB/worker", "peak so far", "not 202", "topic"]
    return _table("Closed loop, median of the rounds: the most it can do, and what that costs", head, rows)


def _ratio_table(report: Report) -> str:
    """Compare the edge with the floors of the same run; `both` is the server's floor and the least work together."""
    work = {floor.events: floor.us_per_event for floor in report.floors if floor.name == LEAST_WORK}
    cost = {(events, server): _mid(cells, "cpu_us_per_event") for events, server, cells in _groups(report.throughput)}
    rows = []
    for events, least_work in work.items():
        edge, server = cost.get((events, EDGE)), cost.get((events, LEAST_SERVER))
        if edge is not None and server is not None:
            parts = (least_work, server, least_work + server)
            rows.append([str(events), f"{edge:.2f}", *(f"{part:.2f} (x {edge / part:.1f})" for part in parts)])
    head = ["events", "edge", "least work", "least server (Starlette)", "both"]
    return _table("The edge against its floors: CPU us an event (how many times the edge costs that)", head, rows)


def _flatness(report: Report) -> str:
    cost = {
        events: _mid(cells, "cpu_us_per_event")
        for events, server, cells in _groups(report.throughput)
        if server == EDGE
    }
    many = [events for events in cost if events >= 20]
    if len(many) < 2:
        return ""
    figures = ", ".join(f"{cost[events]:.2f} at {events}" for events in many)
    return f"Flat from {many[0]} events a request on? CPU us an event: {figures}."


def _latency_table(report: Report) -> str:
    rows = [
        [
            str(cell.account.events),
            cell.account.server,
            f"{cell.load_percent}%",
            f"{cell.rate:.0f}",
            *(f"{value:.1f}" for value in (cell.p50_ms, cell.p90_ms, cell.p99_ms, cell.max_ms)),
            f"{cell.waited_share:.1%}",
            str(cell.account.refused),
            _checks([cell.account]),
        ]
        for cell in sorted(report.latency, key=lambda cell: (cell.account.events, cell.account.server))
    ]
    head = ["events", "server", "of maximum", "requests/s", "p50 ms", "p90 ms", "p99 ms", "max ms"]
    head += ["no connection free", "not 202", "topic"]
    return _table("Open loop at a fixed rate: latency from the moment a request was due", head, rows)


def _groups(cells: Sequence[Throughput]) -> list[tuple[int, str, list[Throughput]]]:
    """Return the rounds of each cell, by events and then in the order of the servers."""
    groups: dict[tuple[int, str], list[Throughput]] = {}
    for cell in cells:
        groups.setdefault((cell.account.events, cell.account.server), []).append(cell)
    return [(events, server, groups[events, server]) for events, server in sorted(groups, key=lambda key: key[0])]


def _mid(cells: Sequence[Throughput], field: str) -> float:
    return float(median(getattr(cell, field) for cell in cells))


def _checks(accounts: Iterable[Account]) -> str:
    return ", ".join(sorted({account.check for account in accounts}))


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table that is also aligned as plain text; nothing where there are no rows."""
    if not rows:
        return ""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in (head, *rows)
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return f"### {title}\n\n" + "\n".join(lines)
