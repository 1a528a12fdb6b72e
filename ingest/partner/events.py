"""`POST /v1/events`: events from a partner's backend, by the same pipeline and with the same promise as from SDKs."""

from typing import Any, Final

import msgspec

from ingest.clock import Clock
from ingest.errors import Code, Refusal
from ingest.event import Decoded, Processed
from ingest.outcome import Fault, Rejection, RejectionCode
from ingest.partner import call as calls
from ingest.partner.call import Answer, Call
from ingest.partner.types import EVENTS_MAX, EventsAnswer
from ingest.pipeline.decode import decode
from ingest.pipeline.process import process
from ingest.pipeline.request import NO_AGENT, NOWHERE, Limits, Request
from ingest.registry.ladder import refusal
from ingest.registry.model import App
from ingest.registry.rate import EventRate
from ingest.registry.snapshot import Registry
from ingest.telemetry.metrics import Figures
from ingest.telemetry.timestamp import Timestamps
from ingest.transport.contract import Publisher, RecordTooLarge, Stored, Topic, Unavailable
from ingest.transport.together import publish_with
from normalize import OwnAddresses

SOURCE: Final = "partner"

NAMES: Final = {"name": "event", "occurredAt": "timestamp", "eventId": "event_id", "appUserId": "app_user_id"}
"""A partner's names for what SDKs send under others."""

_THEIRS: Final = {ours: theirs for theirs, ours in NAMES.items()}

FOREIGN_NAMES: Final = tuple(_THEIRS)
"""SDKs' names, which an event of a partner's may not use."""


class Events:
    """Takes batches of events from partners' backends."""

    def __init__(
        self,
        *,
        registry: Registry,
        publisher: Publisher,
        rate: EventRate,
        limits: Limits,
        clock: Clock,
        figures: Figures,
    ) -> None:
        self._registry = registry
        self._publisher = publisher
        self._rate = rate
        self._limits = limits._replace(events_max=EVENTS_MAX)
        self._clock = clock
        self._figures = figures
        self._timestamp = Timestamps().of

    async def take(self, call: Call) -> Answer:
        """Store a batch, or for a repeat derive again what was answered."""
        project_id, app_id, batch = read_envelope(call.body)
        app = self._app(call, project_id, app_id)
        if call.replay is None:
            self._rate.charge(app, len(batch.events), self._clock.monotonic_ms())
        now_ms = self._clock.now_ms()
        received = len(batch.events)
        done = self._process(call, app, batch, now_ms)
        rejected = [_theirs(each) for each in done.rejected]
        if not done.records:
            if call.replay is None:
                self._count(received, None, done)
            raise Refusal(Code.ALL_EVENTS_REJECTED, details={"rejected": rejected})
        accepted = len(done.records)
        stored = await self._publish(app, received, done, now_ms) if call.replay is None else call.replay.stored
        if stored is None:  # the first call promised nothing, so there is nothing to answer again
            raise Refusal(Code.CONFLICT)
        return Answer(202, EventsAnswer(call.request_id, stored, accepted, done.duplicates, rejected), stored)

    def _app(self, call: Call, project_id: str, app_id: str) -> App:
        """Return the app, if it is one of the caller's and may send; for a repeat it need not send."""
        snapshot = self._registry.current()
        app = snapshot.apps.get(app_id)
        if app is None and not snapshot.complete:
            raise Refusal(Code.UNAVAILABLE)
        if app is None or (app.organization_id, app.project_id) != (call.key.organization_id, project_id):
            raise Refusal(Code.NOT_FOUND, "There is no such app in this project.")
        call.facts.project_id, call.facts.app_id = app.project_id, app.id
        refused = refusal(app, snapshot.kills, complete=True)
        if refused is not None and call.replay is None:
            raise refused
        return app

    def _process(self, call: Call, app: App, batch: Decoded, now_ms: int) -> Processed:
        request = Request(
            app=app,
            request_id=call.request_id,
            received_at=self._timestamp(now_ms),
            region=NOWHERE,  # of the partner's server, which says nothing about its users
            agent=NO_AGENT,
            own=OwnAddresses(call.own_addresses),
            environment="test" if call.key.env == "test" else None,
            environment_fixed=call.key.env == "test",
            source=SOURCE,
        )
        return process(batch, request, self._limits)

    async def _publish(self, app: App, received: int, done: Processed, now_ms: int) -> Stored:
        self._figures.publish_rounds += 1
        try:
            stored = await publish_with(self._publisher, Topic.EVENTS, done.records, done.conversions, now_ms)
        except Unavailable:
            self._figures.publish_failed("unavailable")
            self._rate.refund(app, received)
            raise Refusal(Code.UNAVAILABLE) from None
        except RecordTooLarge:
            self._figures.publish_failed("record_too_large")
            raise Refusal(Code.PAYLOAD_TOO_LARGE, details={"limit": "record_bytes"}) from None
        self._count(received, stored, done)
        self._figures.routed(done.routed)
        return stored

    def _count(self, received: int, stored: Stored | None, done: Processed) -> None:
        self._figures.batch(
            received,
            stored,
            accepted=len(done.records),
            duplicates=done.duplicates,
            rejected=done.rejected,
            notes=done.notes,
        )


def read_envelope(body: bytes) -> tuple[str, str, Decoded]:
    """Return project, app and batch of a body, its events under the names of SDKs.

    Raises `Refusal`: `INVALID_JSON`, or `VALIDATION` with everything that does not hold up.
    """
    faults: list[calls.Fault] = []
    batch: Decoded | None = None
    try:
        batch = decode(body, events_max=EVENTS_MAX)
        root: Any = batch.extra
    except Refusal as refused:
        if refused.code is Code.INVALID_JSON:
            raise
        root = _root(body)
        too_many = refused.code is Code.PAYLOAD_TOO_LARGE
        faults.append(
            calls.Fault("events", f"must hold at most {EVENTS_MAX} events" if too_many else "must be a non-empty array")
        )
    if root is msgspec.UNSET:
        raise calls.invalid(faults)
    if not isinstance(root, dict):
        raise calls.invalid([calls.Fault("", "must be an object")])
    project_id, app_id = _id(root, "projectId", faults), _id(root, "sdkAppId", faults)
    if batch is None or faults:
        raise calls.invalid(sorted(faults, key=lambda fault: fault.path))
    batch.events = [_ours(event) for event in batch.events]
    return project_id, app_id, batch


def _root(body: bytes) -> Any:
    """Return the root of a body without a batch, `UNSET` where something in it keeps it from being read as a whole."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return msgspec.UNSET


def _id(root: dict[str, Any], name: str, faults: list[calls.Fault]) -> str:
    value = root.pop(name, None)
    if isinstance(value, str) and value:
        return value
    faults.append(calls.Fault(name, "is required" if value is None else "must be a non-empty text"))
    return ""


def _ours(event: Any) -> Any:
    """Return an event with the names that SDKs use, in its own order."""
    if type(event) is not dict:
        return event
    for ours, theirs in _THEIRS.items():
        if ours in event:
            return Fault(RejectionCode.INVALID_VALUE, f"`{ours}` is not a member here; use `{theirs}`.", ours)
    return {NAMES.get(name, name): value for name, value in event.items()}


def _theirs(rejection: Rejection) -> Rejection:
    """Return a verdict in the names that partners use."""
    theirs = _THEIRS.get(rejection.path or "")
    if theirs is None or "is not a member here" in rejection.message:
        return rejection
    message = rejection.message.replace(f"`{rejection.path}`", f"`{theirs}`")
    return Rejection(rejection.index, rejection.code, message, theirs, rejection.event_id)
