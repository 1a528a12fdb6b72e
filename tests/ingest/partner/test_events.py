"""Events of partners: the same fates and the same promise as those of SDKs, told in partners' names."""

import asyncio
import json
from collections.abc import Mapping
from ipaddress import IPv4Address
from typing import Any, cast

import msgspec
import pytest

from ingest.clock import FakeClock
from ingest.conversion import ConversionRecord, Platform
from ingest.errors import Code, Refusal
from ingest.event import EventRecord
from ingest.outcome import Rejection
from ingest.partner.call import Answer, Call, Replay
from ingest.partner.events import Events
from ingest.partner.types import EventsAnswer
from ingest.pipeline.request import Limits
from ingest.registry.model import App, Forward, Kills, MetaForward
from ingest.registry.rate import EventRate
from ingest.registry.snapshot import FixedRegistry, Snapshot
from ingest.telemetry.metrics import Figures
from ingest.transport.contract import RecordTooLarge, Stored, Topic
from ingest.transport.memory import MemoryTransport
from normalize import email_digest
from tests.ingest.partner.callers import ORGANIZATION, call, standing

TIME = "2026-11-24T10:00:00Z"
APP = App(id="app_demo", project_id="prj_demo", organization_id=ORGANIZATION, events_per_minute_max=10)
FOREIGN = App(id="app_foreign", project_id="prj_demo", organization_id="org_other")
FORWARDING = msgspec.structs.replace(APP, forward=Forward(meta=MetaForward(enabled=True, dataset_id="1")))
GAID = "38400000-8cf0-11bd-b23e-10b96e40000d"
LIMITS = Limits(events_max=1_000, event_bytes_max=32 * 1024, nesting_max=64)


def event(event_id: str | None = None, **members: Any) -> dict[str, Any]:
    """Return an event that has what it needs."""
    named = {} if event_id is None else {"eventId": event_id}
    return {"name": "purchase", "occurredAt": TIME, **named, **members}


class World:
    """The call on events over a transport in memory, and what came of it."""

    def __init__(self, *apps: App, kills: Kills | None = None, complete: bool = True) -> None:
        self.clock = FakeClock()
        self.figures = Figures()
        self.rate = EventRate()
        self.transport = MemoryTransport(stored_as=Stored.SPOOLED, clock=self.clock)
        known = {app.id: app for app in apps or (APP, FOREIGN)}
        self.registry = FixedRegistry(Snapshot(known, kills or Kills(), complete=complete))
        self.events = Events(
            registry=self.registry,
            publisher=self.transport,
            rate=self.rate,
            limits=LIMITS,
            clock=self.clock,
            figures=self.figures,
        )

    def take(self, *events: Any, root: Mapping[str, Any] | None = None, **members: Any) -> Answer | Refusal:
        """Send a batch, and return the answer or the refusal; `members` are those of the call."""
        body = {"projectId": APP.project_id, "sdkAppId": APP.id, "events": events, **(root or {})}
        return self.handle(call(json.dumps(body).encode(), **members))

    def handle(self, seen: Call) -> Answer | Refusal:
        """Handle a call."""

        async def story() -> Answer | Refusal:
            await self.transport.start()
            try:
                return await self.events.take(seen)
            except Refusal as refused:
                return refused

        return asyncio.run(story())

    def records(self) -> list[EventRecord]:
        """Return what was stored."""
        return [msgspec.json.decode(each.value, type=EventRecord) for each in self.transport.records[Topic.EVENTS]]

    def conversions(self) -> list[ConversionRecord]:
        """Return what was stored for forwarding."""
        return [
            msgspec.json.decode(each.value, type=ConversionRecord) for each in self.transport.records[Topic.FORWARD]
        ]

    def charged(self) -> int:
        """Return the events that were charged, less those given back."""
        return self.rate.pop_charges().get(APP.id, 0)

    def conserved(self) -> bool:
        """Tell whether every event that was received has exactly one fate."""
        figures = self.figures
        kept = sum(figures.events_stored.values())
        return figures.events_received == sum(figures.events.values()) and figures.events["accepted"] == kept


def answer(outcome: Answer | Refusal) -> EventsAnswer:
    """Return the body of an answer."""
    assert isinstance(outcome, Answer), outcome.code
    assert outcome.status == 202
    return cast("EventsAnswer", outcome.body)


def refusal(outcome: Answer | Refusal) -> tuple[Code, Any]:
    """Return the code and the details of a refusal."""
    assert isinstance(outcome, Refusal)
    return outcome.code, outcome.details


def test_a_batch_is_stored_as_records_of_a_partner() -> None:
    """Records have SDKs' names and digests, come from a partner, from nowhere and by no agent."""
    world = World()
    told = answer(world.take(event("e1", appUserId=7, properties={"email": "A@Example.com"}, more=True)))

    assert (told.accepted, told.duplicates, told.rejected, told.stored) == (1, 0, [], Stored.SPOOLED)
    (record,) = world.records()
    assert list(record.event) == ["event", "timestamp", "event_id", "app_user_id", "properties", "more"]
    assert list(record.event["properties"]) == ["email_sha256"]
    meta = record.meta
    assert (meta.source, meta.app_id, meta.project_id, meta.organization_id, meta.event_id) == (
        "partner",
        APP.id,
        APP.project_id,
        ORGANIZATION,
        "e1",
    )
    assert (meta.country_code, meta.os, meta.client, meta.environment) == (None, None, None, None)
    assert meta.request_id == told.request_id


def test_a_conversion_is_stored_beside_its_event() -> None:
    """By the same rules as those of SDKs, without a region and without a user agent, and counted once it is stored."""
    world = World(FORWARDING)
    sent = event("e1", name="purchase_success", appUserId=7, gaid=GAID, properties={"email": "A@Example.com"})
    told = answer(world.take(sent, sent, event("e2")))

    assert (told.accepted, told.duplicates, told.stored) == (2, 1, Stored.SPOOLED)
    (found,) = world.conversions()
    assert (found.meta.source, found.meta.event_id, found.meta.request_id) == ("partner", "e1", told.request_id)
    assert (found.meta.country_code, found.meta.os_name, found.event.user_agent) == (None, None, None)
    assert (found.event.to, found.event.app_user_id, found.event.gaid) == ({Platform.META: "Purchase"}, "7", GAID)
    assert found.event.email_sha256 == (email_digest("a@example.com"),)
    assert [each.key for each in world.transport.records[Topic.FORWARD]] == [b"app_demo:7"]
    assert GAID.encode() not in world.transport.records[Topic.EVENTS][0].value
    assert world.figures.conversions == {"meta": 1, "tiktok": 0}
    assert world.conserved()


def test_what_is_stored_in_part_is_not_promised() -> None:
    """Where only the conversion was stored nothing is acknowledged, charged or counted; the next attempt does all."""
    world = World(FORWARDING)
    world.transport.fail_next()

    assert refusal(world.take(event("e1", name="purchase_success"))) == (Code.UNAVAILABLE, None)
    assert (world.charged(), world.figures.events_received, world.figures.conversions["meta"]) == (0, 0, 0)
    assert answer(world.take(event("e1", name="purchase_success"))).accepted == 1
    assert (len(world.conversions()), world.figures.conversions["meta"]) == (2, 1)


def test_what_stores_no_conversion() -> None:
    """A key for tests, and a repeat of what was done before."""
    world = World(FORWARDING)
    sent = event("e1", name="purchase_success")
    answer(world.take(sent, key=standing(env="test")))
    answer(world.take(sent, replay=Replay(202, Stored.REPLICATED)))

    assert (world.conversions(), world.figures.conversions["meta"]) == ([], 0)


def test_a_test_key_makes_test_events() -> None:
    """What a key for tests sends says so."""
    world = World()
    answer(world.take(event(), key=standing(env="test")))

    assert [record.meta.environment for record in world.records()] == ["test"]


def test_the_callers_address_is_found_in_texts() -> None:
    """The partner's own address is taken out of its events."""
    world = World()
    answer(world.take(event(properties={"note": "from 192.0.2.7"}), own_addresses=(IPv4Address("192.0.2.7"),)))

    assert b"192.0.2.7" not in world.transport.records[Topic.EVENTS][0].value


def test_every_event_has_its_verdict_in_partners_names() -> None:
    """Accepted, repeated and rejected events are told apart; paths and messages name what the partner sent."""
    world = World()
    told = answer(
        world.take(
            event("e1"),
            event("e1"),
            {"occurredAt": TIME, "eventId": "e2"},
            {"name": "n", "occurredAt": "yesterday"},
            event(event="purchase"),
            {"name": "n", "occurredAt": TIME, "eventId": ["e"]},
            event(app_id="app_other"),
            "no object",
        )
    )

    assert (told.accepted, told.duplicates) == (1, 1)
    assert [(each.index, each.code, each.path, each.event_id) for each in told.rejected] == [
        (2, "MISSING_FIELD", "name", "e2"),
        (3, "INVALID_TIMESTAMP", "occurredAt", None),
        (4, "INVALID_VALUE", "event", None),
        (5, "INVALID_TYPE", "eventId", None),
        (6, "APP_MISMATCH", "app_id", None),
        (7, "NOT_AN_OBJECT", None, None),
    ]
    messages = [each.message for each in told.rejected]
    assert messages[0] == "`name` is required."
    assert messages[2] == "`event` is not a member here; use `name`."
    assert messages[3] == "`eventId` must be a string or an integer."
    assert world.conserved()
    assert (world.figures.events_received, world.figures.events["rejected"]) == (8, 6)
    assert world.charged() == 8


def test_nothing_acceptable() -> None:
    """A batch without a good event is refused with all verdicts, is charged, and is published nowhere."""
    world = World()
    code, details = refusal(world.take({}, event(occurredAt=1)))

    assert code is Code.ALL_EVENTS_REJECTED
    rejected: list[Rejection] = details["rejected"]
    assert [(each.code, each.path) for each in rejected] == [("MISSING_FIELD", "name"), ("INVALID_TYPE", "occurredAt")]
    assert world.records() == []
    assert world.conserved()
    assert (world.figures.events_received, world.figures.publish_rounds, world.charged()) == (2, 0, 2)


@pytest.mark.parametrize(
    ("root", "code"),
    [
        ({"sdkAppId": "app_unknown"}, Code.NOT_FOUND),
        ({"sdkAppId": FOREIGN.id}, Code.NOT_FOUND),
        ({"projectId": "prj_other"}, Code.NOT_FOUND),
        ({"projectId": ""}, Code.VALIDATION),
        ({"events": []}, Code.VALIDATION),
        ({"events": [event()] * 101}, Code.VALIDATION),
    ],
)
def test_envelopes_that_are_refused(root: Mapping[str, Any], code: Code) -> None:
    """What is no batch for an app of the caller's costs nothing."""
    world = World()
    seen = call(json.dumps({"projectId": APP.project_id, "sdkAppId": APP.id, "events": [event()], **root}).encode())

    assert refusal(world.handle(seen))[0] is code
    assert (world.charged(), world.figures.events_received, world.records()) == (0, 0, [])
    assert (seen.facts.project_id, seen.facts.app_id) == (None, None)


def test_the_log_learns_which_app_it_was() -> None:
    """Once the app is known as the caller's, the request's facts name it."""
    world = World()
    seen = call(json.dumps({"projectId": APP.project_id, "sdkAppId": APP.id, "events": [event()]}).encode())
    answer(world.handle(seen))

    assert (seen.facts.project_id, seen.facts.app_id) == (APP.project_id, APP.id)


def test_an_unknown_app_may_be_new_while_the_registry_is_away() -> None:
    """Without a complete registry an app that is not known is no fault of the partner's."""
    assert refusal(World(FOREIGN, complete=False).take(event()))[0] is Code.UNAVAILABLE
    assert answer(World(APP, complete=False).take(event())).accepted == 1


@pytest.mark.parametrize(
    ("app", "kills", "expected"),
    [
        (msgspec.structs.replace(APP, kill_switch=True), Kills(), (Code.KILL_SWITCH, {"scope": "key"})),
        (msgspec.structs.replace(APP, active=False), Kills(), (Code.REVOKED, None)),
        (APP, Kills(organizations=frozenset({ORGANIZATION})), (Code.KILL_SWITCH, {"scope": "organization"})),
        (APP, Kills(global_=True), (Code.KILL_SWITCH, {"scope": "global"})),
    ],
)
def test_the_apps_own_ladder_holds(app: App, kills: Kills, expected: tuple[Code, Any]) -> None:
    """An app that may not send does not do so by a partner either; a repeat is still told what was done."""
    world = World(app, kills=kills)

    assert refusal(world.take(event())) == expected
    assert world.charged() == 0
    told = answer(world.take(event(), replay=Replay(202, Stored.REPLICATED)))
    assert (told.accepted, told.stored) == (1, Stored.REPLICATED)


def test_the_apps_event_rate_holds() -> None:
    """A batch that overdraws passes, the next one waits until the debt is paid; nothing is charged for it."""
    world = World()
    answer(world.take(*(event(f"e{number}") for number in range(25))))
    assert world.charged() == 25

    outcome = world.take(event())
    assert refusal(outcome) == (Code.RATE_LIMITED, {"eventsPerMinuteMax": 10})
    assert isinstance(outcome, Refusal)
    assert outcome.retry_after_s == 90
    assert world.charged() == 0
    world.clock.advance(90_000)
    assert answer(world.take(event())).accepted == 1


def test_what_is_not_stored_is_given_back() -> None:
    """Without storage the partner is told to come again, at no charge, and no event counts as received."""
    world = World()
    world.transport.fail_next()

    assert refusal(world.take(event("e1"), event("e2"))) == (Code.UNAVAILABLE, None)
    assert (world.charged(), world.figures.events_received) == (0, 0)
    assert world.figures.publish_failures["unavailable"] == 1
    assert answer(world.take(event("e1"), event("e2"))).accepted == 2
    assert world.conserved()


def test_a_record_that_no_transport_takes() -> None:
    """What can never be stored is said to be too large, without a retry."""
    world = World()
    world.transport.fail_next(error=RecordTooLarge("too large"))

    assert refusal(world.take(event())) == (Code.PAYLOAD_TOO_LARGE, {"limit": "record_bytes"})
    assert world.figures.publish_failures["record_too_large"] == 1
    assert world.conserved()


def test_a_repeat_is_answered_alike_and_does_nothing() -> None:
    """The answer to a repeat is derived from the batch and the promise: nothing is published, charged or counted."""
    world = World()
    sent = (event("e1"), event("e1"), {"name": "n"}, event())
    first = answer(world.take(*sent))
    world.charged()
    before = (len(world.records()), world.figures.events_received, world.figures.publish_rounds)
    again = answer(world.take(*sent, replay=Replay(202, Stored.REPLICATED)))

    assert again == msgspec.structs.replace(first, stored=Stored.REPLICATED)
    assert (len(world.records()), world.figures.events_received, world.figures.publish_rounds) == before
    assert world.charged() == 0


def test_a_repeat_of_a_rejected_batch() -> None:
    """A batch that was rejected as a whole is rejected again, and counted once."""
    world = World()
    assert refusal(world.take({}, replay=Replay(400, None)))[0] is Code.ALL_EVENTS_REJECTED
    assert (world.figures.events_received, world.charged()) == (0, 0)


def test_a_repeat_of_a_refusal_that_no_longer_holds() -> None:
    """Where the first call was refused, as for an app that was not there yet, a repeat does not store its events."""
    world = World()

    assert refusal(world.take(event(), replay=Replay(404, None)))[0] is Code.CONFLICT
    assert world.records() == []
