"""Batches as a test writes them, and their way through the pipeline."""

import json
from ipaddress import ip_address
from typing import Any

import msgspec

from ingest.conversion import ConversionRecord
from ingest.event import Decoded, EventRecord, Identified, JsonObject, Processed, ValidEvent
from ingest.outcome import Fault
from ingest.pipeline.decode import decode
from ingest.pipeline.identify import identify
from ingest.pipeline.process import process
from ingest.pipeline.request import NO_AGENT, NOWHERE, Agent, Limits, Region, Request
from ingest.registry.model import App, EventMap, Forward, MetaForward, TikTokForward
from normalize import OwnAddresses

APP = App(id="app_demo", project_id="prj_demo", organization_id="org_demo")
BOTH = Forward(meta=MetaForward(enabled=True, dataset_id="1"), tiktok=TikTokForward(enabled=True, event_source_id="C1"))
FORWARDING = App(
    id="app_demo",
    project_id="prj_demo",
    organization_id="org_demo",
    forward=BOTH,
    event_map=EventMap(meta={"view": "ViewContent"}),
)
"""An app whose event `view` goes to Meta; to TikTok go the events with default names."""

TIME = "2026-11-24T10:00:00.000Z"
LIMITS = Limits(events_max=100, event_bytes_max=32 * 1024, nesting_max=64)
NOBODY = OwnAddresses()


def event(**members: Any) -> JsonObject:
    """Return an event that has what it needs, and `members`."""
    return {"event": "view", "timestamp": TIME, **members}


def body(*events: Any, **root: Any) -> bytes:
    """Return a batch as JSON."""
    return json.dumps({"events": list(events), **root}).encode()


def body_of(*events: str, root: str = "") -> bytes:
    """Return a batch whose events, and further members of the root, are JSON already; events get what they need."""
    needed = f'{{"event":"view","timestamp":"{TIME}"'
    whole = ",".join(f"{needed},{members}}}" if members else f"{needed}}}" for members in events)
    return f'{{"events":[{whole}]{"," + root if root else ""}}}'.encode()


def decoded(text: bytes) -> Decoded:
    """Return the decoded batch."""
    return decode(text, events_max=LIMITS.events_max)


def request(
    *own: str,
    app: App = APP,
    region: Region = NOWHERE,
    agent: Agent = NO_AGENT,
    environment: str | None = None,
    sdk: str | None = None,
    user_agent: bytes | None = None,
) -> Request:
    """Return what a request brings along; `own` are the client's addresses."""
    return Request(
        app=app,
        request_id="req_01KB000000000000000000000A",
        received_at="2026-11-24T10:00:01.000Z",
        region=region,
        agent=agent,
        own=OwnAddresses([ip_address(each) for each in own]),
        environment=environment,
        sdk=sdk,
        user_agent=user_agent,
    )


def through(text: bytes, sender: Request | None = None, limits: Limits = LIMITS) -> Processed:
    """Send a body through the pipeline."""
    return process(decode(text, events_max=limits.events_max), sender or request(), limits)


def records(done: Processed) -> list[EventRecord]:
    """Return the records as a consumer reads them, held strictly to the schema."""
    return [msgspec.json.decode(record.value, type=EventRecord, strict=True) for record in done.records]


def conversions(done: Processed) -> list[ConversionRecord]:
    """Return what goes to platforms as the one who forwards it reads it."""
    return [msgspec.json.decode(record.value, type=ConversionRecord, strict=True) for record in done.conversions]


def converted(*events: Any, sender: Request | None = None, **root: Any) -> list[ConversionRecord]:
    """Return the conversions of a batch, by default of an app that forwards."""
    return conversions(through(body(*events, **root), sender or request(app=FORWARDING)))


def stored(text: bytes, sender: Request | None = None, limits: Limits = LIMITS) -> EventRecord:
    """Return the one record of a batch that has one event."""
    (record,) = records(through(text, sender, limits))
    return record


def identified(members: JsonObject, *own: str, bytes_max: int = 32 * 1024, nesting_max: int = 64) -> Identified:
    """Return an event under the identity rules."""
    addresses = OwnAddresses([ip_address(each) for each in own])
    found = identify(ValidEvent(members), addresses, bytes_max=bytes_max, nesting_max=nesting_max)
    assert not isinstance(found, Fault), found
    return found


def identify_fault(members: JsonObject, *, bytes_max: int = 32 * 1024, nesting_max: int = 64) -> Fault:
    """Return what is wrong with an event under the identity rules."""
    found = identify(ValidEvent(members), NOBODY, bytes_max=bytes_max, nesting_max=nesting_max)
    assert isinstance(found, Fault), found
    return found


def nested(levels: int) -> Any:
    """Return a list in a list, and so on, `levels` deep."""
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value
