"""One cell of a table: one server, one size of request, one kind of load, and the check that nothing was lost."""

import time
from collections.abc import Callable
from functools import partial
from typing import Final, Literal

import msgspec

from bench.connections import Connections
from bench.load import Tally, closed_loop, open_loop, percentile
from bench.processes import Usage, usage
from bench.servers import Server
from bench.workload import Workload
from bench.wrk import wrk_loop

WARM_SHARE: Final = 0.25
"""How long the same load runs before it is measured, as a share of the measured time."""

SETTLE_S: Final = 0.25
"""Pause after a load, for what a server does behind its answers and for the next figure to start clean."""

Check = Literal["exact", "in flight", "DIFFERS", "none"]
"""Whether the topic grew by what was acknowledged as replicated; `none` for a floor, which stores nothing.

`in flight` is the best that wrk can show: what is too much is no more than the requests whose answers it did not read.
"""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent and what became of it: `refused` are answers other than 202, `grown` the records in the topic."""

    server: str
    events: int
    seconds: float
    requests: int
    statuses: dict[int, int]
    refused: int
    spooled: int
    accepted: int
    grown: int | None
    check: Check
    generator_cores: float

    def fault(self) -> str | None:
        """Tell why the figures may not be believed, if so."""
        if self.check != "DIFFERS" and not self.refused and not self.spooled:
            return None
        return (
            f"{self.server} at {self.events} events a request: {self.requests} answers, {self.refused} of them not 202"
            f" and {self.spooled} spooled; {self.accepted} events acknowledged, {self.grown} in the topic"
        )


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """Closed loop: rates, and CPU of the server's process tree; memory is that at the end of the load."""

    account: Account
    requests_per_s: float
    events_per_s: float
    cpu_us_per_request: float
    cpu_us_per_event: float
    server_cores: float
    worker_mib: tuple[float, ...]
    peak_mib: float


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Open loop: `rate` was asked for, in requests a second; `load_percent` is its share of the measured maximum.

    `waited_share` is the part of the requests that found all connections busy when they were due.
    """

    account: Account
    load_percent: int
    rate: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    waited_share: float


def throughput(server: Server, load: Workload, *, connections: int, seconds: float, wrk: bool = False) -> Throughput:
    """Measure the most that the server can do."""
    if wrk:
        by_wrk = partial(wrk_loop, server.port, load, connections=connections, stores=server.topic is not None)
        measured = _measure(server, lambda length_s: by_wrk(seconds=length_s), seconds)
        unread = connections * load.events
    else:
        with Connections(server.port, connections) as opened:
            measured = _measure(server, partial(closed_loop, opened, load.requests), seconds)
        unread = 0
    tally, cpu_us, after = measured.tally, measured.cpu_s * 1e6, measured.after
    rate = tally.requests / tally.seconds
    return Throughput(
        account=_account(server, load, measured, unread),
        requests_per_s=rate,
        events_per_s=rate * load.events,
        cpu_us_per_request=cpu_us / tally.requests,
        cpu_us_per_event=cpu_us / tally.requests / load.events,
        server_cores=measured.cpu_s / tally.seconds,
        worker_mib=after.worker_mib,
        peak_mib=after.peak_mib,
    )


def latency(
    server: Server, load: Workload, *, connections: int, seconds: float, maximum: float, percent: int
) -> Latency:
    """Measure how long answers take at `percent` of `maximum`, the requests a second that the server can do."""
    rate = maximum * percent / 100
    with Connections(server.port, connections) as opened:
        measured = _measure(server, partial(open_loop, opened, load.requests, rate), seconds)
    ordered_ms = sorted(second * 1000 for second in measured.tally.latencies_s)
    return Latency(
        account=_account(server, load, measured, 0),
        load_percent=percent,
        rate=rate,
        p50_ms=percentile(ordered_ms, 0.5),
        p90_ms=percentile(ordered_ms, 0.9),
        p99_ms=percentile(ordered_ms, 0.99),
        max_ms=ordered_ms[-1],
        waited_share=measured.tally.waited / measured.tally.requests,
    )


class _Measured(msgspec.Struct, frozen=True):
    tally: Tally
    cpu_s: float
    after: Usage
    grown: int | None


def _measure(server: Server, run: Callable[[float], Tally], seconds: float) -> _Measured:
    """Warm up, then load for `seconds`, with the usage and the topic's growth over that time alone."""
    run(seconds * WARM_SHARE)
    time.sleep(SETTLE_S)
    begin = server.topic.records() if server.topic else 0
    before = usage(server.pid)
    tally = run(seconds)
    after_load = usage(server.pid)
    time.sleep(SETTLE_S)
    cpu_s = usage(server.pid).cpu_s - before.cpu_s
    grown = server.topic.records() - begin if server.topic else None
    return _Measured(tally, cpu_s, after_load, grown)


def _account(server: Server, load: Workload, measured: _Measured, unread: int) -> Account:
    tally = measured.tally
    return Account(
        server=server.name,
        events=load.events,
        seconds=tally.seconds,
        requests=tally.requests,
        statuses=dict(tally.statuses),
        refused=tally.refused,
        spooled=tally.spooled,
        accepted=tally.accepted,
        grown=measured.grown,
        check=_check(measured.grown, tally.accepted, unread),
        generator_cores=tally.generator_cpu_s / tally.seconds,
    )


def _check(grown: int | None, accepted: int, unread: int) -> Check:
    """Compare; at most `unread` records may belong to answers that the generator did not wait for."""
    if grown is None:
        return "none"
    if grown == accepted:
        return "exact"
    return "in flight" if accepted < grown <= accepted + unread else "DIFFERS"
