"""`POST /events` for an app that forwards, over a transport in memory: one promise for events and conversions."""

import asyncio
import json
import os
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from ingest.clock import FakeClock
from ingest.conversion import ConversionRecord
from ingest.edge.agent import warm
from ingest.edge.client import TrustedProxies
from ingest.edge.collect import BodyLimits, Collect
from ingest.edge.in_flight import InFlight
from ingest.edge.intake import EVENTS, USER_PROPERTIES, Intake
from ingest.edge.region import Regions
from ingest.registry.rate import EventRate
from ingest.registry.snapshot import FixedRegistry, Snapshot
from ingest.telemetry.line_writer import LineWriter
from ingest.telemetry.metrics import Figures
from ingest.telemetry.request_log import RequestLog
from ingest.transport.contract import RecordTooLarge, Stored, Topic
from ingest.transport.memory import MemoryTransport
from tests.ingest.pipeline.batches import FORWARDING, LIMITS, TIME, body, event

AGENT = b"App/1.0 (198.51.100.9; ann@example.com)"


class World:
    """One collector, and what came of it."""

    def __init__(self, log: RequestLog, intake: Intake, transport: MemoryTransport) -> None:
        self.figures = Figures()
        self.rate = EventRate()
        self.transport = transport
        self._collect = Collect(
            intake,
            registry=FixedRegistry(Snapshot({FORWARDING.id: FORWARDING})),
            publisher=transport,
            regions=Regions([]),
            agents=warm(),
            trusted=TrustedProxies(),
            rate=self.rate,
            in_flight=InFlight(requests_max=10, bytes_max=2**20),
            body_limits=BodyLimits(2**20, 2**20, 1_000),
            limits=LIMITS,
            clock=FakeClock(),
            figures=self.figures,
            log=log,
        )

    def post(self, text: bytes) -> tuple[int, Any]:
        """Send a body, and return status and answer."""
        sent: list[MutableMapping[str, Any]] = []
        headers = [(b"x-app-id", FORWARDING.id.encode()), (b"user-agent", AGENT)]

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": text, "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        async def story() -> None:
            await self.transport.start()
            await self._collect({"headers": headers, "client": ("198.51.100.9", 1)}, receive, send)

        asyncio.run(story())
        return sent[0]["status"], json.loads(sent[1]["body"])

    def conversions(self) -> list[ConversionRecord]:
        """Return what was stored for forwarding."""
        return [
            msgspec.json.decode(each.value, type=ConversionRecord) for each in self.transport.records[Topic.FORWARD]
        ]


@contextmanager
def world(intake: Intake = EVENTS, transport: MemoryTransport | None = None) -> Iterator[World]:
    """Make a collector whose log goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    writer = LineWriter(nowhere)
    try:
        yield World(RequestLog(writer), intake, transport or MemoryTransport())
    finally:
        writer.close()
        os.close(nowhere)


def test_an_event_that_maps_is_stored_twice() -> None:
    """It counts once as an event and once as a conversion, and the answer tells of events alone."""
    with world() as seen:
        status, told = seen.post(body(event(event_id="a", install_id="i"), event(event="opened"), {}))
        (found,) = seen.conversions()

    assert (status, told["stored"], told["accepted"], len(told["rejected"])) == (202, "replicated", 2, 1)
    assert (found.meta.event_id, found.meta.request_id, found.event.to) == (
        "a",
        told["requestId"],
        {"meta": "ViewContent"},
    )
    assert len(seen.transport.records[Topic.EVENTS]) == 2
    assert (seen.figures.events["accepted"], seen.figures.events_stored["replicated"]) == (2, 2)
    assert seen.figures.conversions == {"meta": 1, "tiktok": 0}


def test_the_header_goes_along_without_what_identifies() -> None:
    """The client's own address is the socket's."""
    with world() as seen:
        seen.post(body(event()))
        (found,) = seen.conversions()

    assert found.event.user_agent is not None
    assert found.event.user_agent.startswith("App/1.0 (; sha256:")


@pytest.mark.parametrize(("error", "status"), [(None, 503), (RecordTooLarge("too large"), 413)])
def test_what_is_not_stored_is_no_conversion(error: RecordTooLarge | None, status: int) -> None:
    """The batch is refused as a whole, and nothing of it counts."""
    with world() as seen:
        seen.transport.fail_next(2, error)
        answered, _ = seen.post(body(event()))

    assert (answered, seen.conversions(), seen.figures.conversions["meta"]) == (status, [], 0)
    assert seen.figures.events_received == 0


def test_the_promise_is_one_for_both() -> None:
    """Where a conversion lies only on this machine's disk the answer says so."""
    with world(transport=MemoryTransport(stored_as=Stored.SPOOLED)) as seen:
        assert seen.post(body(event()))[1]["stored"] == "spooled"


def test_what_is_said_of_a_user_is_not_forwarded() -> None:
    """A statement goes to its own topic alone."""
    said = {"event": "view", "timestamp": TIME, "app_user_id": "u-1", "properties": {"a": 1}}
    with world(USER_PROPERTIES) as seen:
        status, _ = seen.post(json.dumps(said).encode())

    assert (status, seen.conversions(), seen.figures.conversions["meta"]) == (202, [], 0)
    assert len(seen.transport.records[Topic.USER_PROPERTIES]) == 1
