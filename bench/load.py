"""The two ways to put load on a server, and the exact account of what it answered.

Closed loop: each connection sends its next request once it has its answer. This finds the most the server can do, and
says nothing of latency, because a slow server is asked less. Open loop: requests are due at times that do not depend on
any answer, and latency counts from the time at which one was due, so a stall is felt by all that came during it.
"""

import random
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Final

from bench.connections import Answer, Connections, LoadError

ANSWER_TIMEOUT_S: Final = 15.0
"""Longest silence of a server that still owes answers."""

ACCEPTED: Final = 202


@dataclass(slots=True)
class Tally:
    """What a server answered in `seconds`, the wait for the last answer included.

    `latencies_s` is filled by the open loop alone; `waited` are its requests that found no connection free when they
    were due. `generator_cpu_s` is what counting all this cost.
    """

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    accepted: int = 0
    spooled: int = 0
    waited: int = 0
    generator_cpu_s: float = 0.0
    latencies_s: list[float] = field(default_factory=list)

    @property
    def requests(self) -> int:
        """Number of answers of any status."""
        return self.statuses.total()

    @property
    def refused(self) -> int:
        """Number of answers other than 202."""
        return self.requests - self.statuses[ACCEPTED]

    def add(self, answer: Answer) -> None:
        """Count one answer."""
        self.statuses[answer.status] += 1
        if answer.status == ACCEPTED:
            self.accepted += answer.accepted
            self.spooled += answer.spooled


def closed_loop(connections: Connections, requests: Sequence[bytes], seconds: float) -> Tally:
    """Keep every connection busy for `seconds`, then wait for the answers that are owed. Raises `LoadError`."""
    tally, upcoming, cpu_s = Tally(), cycle(requests), time.process_time()
    began = time.perf_counter()
    while connections.idle:
        connections.send(next(upcoming), began)
    until, heard = began + seconds, began
    while connections.busy:
        for answer in connections.answers(ANSWER_TIMEOUT_S):
            tally.add(answer)
            heard = time.perf_counter()
            if heard < until:
                connections.send(next(upcoming), heard)
        _check_silence(heard)
    tally.seconds = time.perf_counter() - began
    tally.generator_cpu_s = time.process_time() - cpu_s
    return tally


def open_loop(connections: Connections, requests: Sequence[bytes], rate: float, seconds: float) -> Tally:
    """Send `rate` requests a second for `seconds`, then wait for the answers that are owed. Raises `LoadError`.

    The gaps are exponential, as between clients that know nothing of each other, and the same in each run. A request
    that finds no connection free waits for one, and the wait counts.
    """
    tally, upcoming, cpu_s = Tally(), cycle(requests), time.process_time()
    rng, waiting = random.Random("arrivals"), deque[float]()
    began = heard = time.perf_counter()
    until, due = began + seconds, began + rng.expovariate(rate)
    while due < until or waiting or connections.busy:
        now = time.perf_counter()
        while due <= now and due < until:
            tally.waited += not connections.idle or bool(waiting)
            waiting.append(due)
            if connections.idle:
                connections.send(next(upcoming), waiting.popleft())
            due += rng.expovariate(rate)
        wait_s = max(0.0, due - time.perf_counter()) if due < until else ANSWER_TIMEOUT_S
        if not connections.busy:
            heard = now
        for answer in connections.answers(wait_s):
            heard = time.perf_counter()
            tally.add(answer)
            tally.latencies_s.append(answer.latency_s)
            if waiting:
                connections.send(next(upcoming), waiting.popleft())
        _check_silence(heard)
    tally.seconds = time.perf_counter() - began
    tally.generator_cpu_s = time.process_time() - cpu_s
    return tally


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value that `share` (0 to 1) of the sorted values do not exceed."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _check_silence(heard: float) -> None:
    if time.perf_counter() - heard >= ANSWER_TIMEOUT_S:
        raise LoadError(f"no answer for {ANSWER_TIMEOUT_S:.0f} s")
