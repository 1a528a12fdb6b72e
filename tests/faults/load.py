"""A steady stream of batches with ids of their own, and the client's ledger of what it was answered.

The load is open: requests are due at fixed times whatever the answers, each on a connection that is free or a new one.
Nothing is sent twice, so what is on Kafka twice was made so by the service.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from statistics import quantiles
from typing import Final, NamedTuple, Self

from devservices.ports import HOST
from tests.integration.edge import APP, TIMESTAMP

ANSWER_TIMEOUT_S: Final = 12.0
"""How long a client waits: a little longer than SDKs do."""

NO_ANSWER: Final = 0
"""Stands for the status of a request that was not answered."""

_PAD: Final = {f"member_{number}": "x" * 40 for number in range(8)}


class Sort(NamedTuple):
    """What is sent: in turn for these apps, and each event by its id and number."""

    app_ids: Sequence[str]
    event: Callable[[str, int], dict[str, object]]


class Sent(NamedTuple):
    """One request: the first of its `events` event numbers, when it was due, how long it took and what came back."""

    app_id: str
    first: int
    events: int
    due_s: float
    seconds: float
    status: int
    stored: str

    @property
    def numbers(self) -> range:
        """The numbers of its events."""
        return range(self.first, self.first + self.events)


def _opened(event_id: str, number: int) -> dict[str, object]:
    return {
        "event": "opened",
        "timestamp": TIMESTAMP,
        "event_id": event_id,
        "install_id": f"install-{number % 50}",
        "properties": _PAD,
    }


OPENED: Final = Sort((APP,), _opened)
"""Events that become nothing but rows."""


class Load:
    """Sends `requests_per_s` batches of `events` events to `port`; events are named `NAME-NUMBER`.

    `events` may be changed under way.
    """

    def __init__(self, name: str, port: int, *, requests_per_s: float, events: int, sort: Sort = OPENED) -> None:
        self.name = name
        self.port = port
        self.events = events
        self.ledger: list[Sent] = []
        self._sort = sort
        self._pause_s = 1 / requests_per_s
        self._next = 0
        self._requests = 0
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.resume()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.pause()
        self._drop_idle()

    def resume(self) -> None:
        """Send from now on."""
        self._running = asyncio.create_task(self._run())

    async def pause(self) -> None:
        """Send no more, and wait for the answers that are owed."""
        if self._running is not None:
            self._running.cancel()
            self._running = None
        if self._under_way:
            await asyncio.wait(self._under_way)

    def event_id(self, number: int) -> str:
        """Return the id of an event by its number."""
        return f"{self.name}-{number}"

    def acknowledged(self) -> Iterator[str]:
        """Yield the ids of all events that were answered with 202."""
        for sent in self.ledger:
            if sent.status == 202:
                yield from map(self.event_id, sent.numbers)

    def unanswered(self) -> Iterator[str]:
        """Yield the ids of all events of which it is not known what became of them."""
        for sent in self.ledger:
            if sent.status == NO_ANSWER:
                yield from map(self.event_id, sent.numbers)

    async def _run(self) -> None:
        due_s = time.monotonic()
        while True:
            task = asyncio.create_task(self._send(due_s))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            due_s += self._pause_s
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))

    async def _send(self, due_s: float) -> None:
        first, events = self._next, self.events
        app_id = self._sort.app_ids[self._requests % len(self._sort.app_ids)]
        self._next, self._requests = first + events, self._requests + 1
        status, stored = NO_ANSWER, ""
        with suppress(OSError, EOFError, TimeoutError, ValueError):
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                status, stored = await self._ask(self._request(app_id, range(first, first + events)))
        self.ledger.append(Sent(app_id, first, events, due_s, time.monotonic() - due_s, status, stored))

    def _request(self, app_id: str, numbers: range) -> bytes:
        events = [self._sort.event(self.event_id(number), number) for number in numbers]
        body = json.dumps({"events": events}).encode()
        head = f"POST /events HTTP/1.1\r\nhost: edge\r\nx-app-id: {app_id}\r\ncontent-length: {len(body)}\r\n\r\n"
        return head.encode() + body

    async def _ask(self, request: bytes) -> tuple[int, str]:
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(HOST, self.port)
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
            body = await reader.readexactly(int(fields[b"content-length"]))
        except BaseException:
            writer.transport.abort()
            raise
        if fields.get(b"connection") == b"close":
            writer.close()
        else:
            self._idle.append((reader, writer))
        return int(head[9:12]), str(json.loads(body).get("stored", ""))

    def _drop_idle(self) -> None:
        for _, writer in self._idle:
            writer.transport.abort()
        self._idle.clear()


def statuses(ledger: Sequence[Sent]) -> Counter[int]:
    """Count the answers that were no 202, by status; `NO_ANSWER` for none at all."""
    return Counter(sent.status for sent in ledger if sent.status != 202)


def percentiles_ms(ledger: Sequence[Sent]) -> tuple[float, float]:
    """Return p50 and p99 of the answers with 202, in milliseconds."""
    taken = sorted(sent.seconds * 1000 for sent in ledger if sent.status == 202)
    if len(taken) < 2:
        return (taken[0], taken[0]) if taken else (0.0, 0.0)
    cuts = quantiles(taken, n=100, method="inclusive")
    return cuts[49], cuts[98]
