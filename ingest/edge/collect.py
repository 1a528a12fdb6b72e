"""`POST /events` and its like: the hot path, a bare ASGI callable.

It is shaped by its cost: no Request or Response objects (a quarter of the budget of a request), headers looked up in
one dict, counters as plain integers, no timer and no task of its own.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter
from typing import Any, NamedTuple

import msgspec
import structlog

from ingest.clock import Clock
from ingest.edge import answer
from ingest.edge.agent import Agents
from ingest.edge.body import ClientGone, read_body
from ingest.edge.client import TrustedProxies, see
from ingest.edge.in_flight import InFlight, Slot
from ingest.edge.inflate import inflate
from ingest.edge.intake import Intake
from ingest.edge.region import Regions
from ingest.errors import Code, Refusal
from ingest.event import Processed
from ingest.pipeline.header import header_text, without_own
from ingest.pipeline.process import process
from ingest.pipeline.request import Limits, Request
from ingest.registry.admission import admit
from ingest.registry.model import App
from ingest.registry.rate import EventRate
from ingest.registry.snapshot import Registry
from ingest.telemetry.catalog import CLIENT_GONE_STATUS
from ingest.telemetry.metrics import Figures
from ingest.telemetry.request_log import RequestLog
from ingest.telemetry.timestamp import Timestamps
from ingest.transport.contract import Publisher, RecordTooLarge, Stored, Unavailable
from ingest.transport.together import publish_with
from normalize import OwnAddresses

_log = structlog.get_logger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class BodyLimits(NamedTuple):
    """The bounds of a request's body: bytes on the wire, bytes inflated, idle time between its parts."""

    bytes_max: int
    inflated_bytes_max: int
    timeout_ms: int


class Call:
    """What is known of one request while it is answered, and what its log line will say. Nothing a client wrote."""

    __slots__ = (
        "accepted",
        "app",
        "begun",
        "code",
        "done",
        "inflated_bytes",
        "received",
        "request_id",
        "slot",
        "status",
        "stored",
        "wire_bytes",
    )

    def __init__(self, request_id: str, begun: float) -> None:
        self.request_id = request_id
        self.begun = begun
        self.app: App | None = None
        self.slot: Slot | None = None
        self.status = 202
        self.code: Code | None = None
        self.wire_bytes = 0
        self.received = 0
        self.accepted = 0
        self.inflated_bytes = 0
        self.done: Processed | None = None
        self.stored: Stored | None = None


class Collect:
    """Takes one kind of what SDKs send, such as batches of events, and answers once it is stored."""

    def __init__(
        self,
        intake: Intake,
        *,
        registry: Registry,
        publisher: Publisher,
        regions: Regions,
        agents: Agents,
        trusted: TrustedProxies,
        rate: EventRate,
        in_flight: InFlight,
        body_limits: BodyLimits,
        limits: Limits,
        clock: Clock,
        figures: Figures,
        log: RequestLog,
    ) -> None:
        self._intake = intake
        self._registry = registry
        self._publisher = publisher
        self._regions = regions
        self._agents = agents
        self._trusted = trusted
        self._rate = rate
        self._in_flight = in_flight
        self._body_limits = body_limits
        self._limits = limits
        self._clock = clock
        self._figures = figures
        self._log = log
        self._timestamp = Timestamps().of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request_id = answer.accepted_request_id(headers.get(b"x-request-id")) or answer.new_request_id()
        call = Call(request_id, perf_counter())
        more: list[answer.Header] = []
        try:
            body = await self._collect(scope, receive, headers, call)
        except Refusal as refusal:
            body, more = self._refuse(call, refusal)
        except ClientGone:
            call.status = CLIENT_GONE_STATUS
            self._finish(call)
            return
        except Exception as error:  # noqa: BLE001 - a bug here costs one request, and is told without its input
            _log.error("bug", error=error, request_id=request_id)
            body, more = self._refuse(call, Refusal(Code.INTERNAL))
        finally:
            if call.slot is not None:
                call.slot.leave()
        await send(
            {
                "type": "http.response.start",
                "status": call.status,
                "headers": [
                    answer.JSON_CONTENT,
                    (b"content-length", b"%d" % len(body)),
                    (b"x-request-id", request_id.encode()),
                    *answer.cors_headers(headers.get(b"origin")),
                    *more,
                ],
            }
        )
        await send({"type": "http.response.body", "body": body})
        self._finish(call)

    async def _collect(self, scope: Scope, receive: Receive, headers: dict[bytes, bytes], call: Call) -> bytes:
        """Do the work and return the answer's body. Raises `Refusal` and `ClientGone`."""
        named = headers.get(b"x-app-id")
        if named:
            call.app = admit(self._registry.current(), named.decode("latin-1"))
            self._rate.check(call.app, self._clock.monotonic_ms())
        call.slot = slot = self._in_flight.enter()
        raw = await read_body(
            receive,
            content_length=_content_length(headers.get(b"content-length")),
            bytes_max=self._body_limits.bytes_max,
            timeout_ms=self._body_limits.timeout_ms,
            grow=slot.grow,
        )
        call.wire_bytes = len(raw)
        read = perf_counter()
        slot.begin(read - scope.get("arrived", read))
        body = self._inflate(headers.get(b"content-encoding"), raw, slot)
        call.inflated_bytes = len(body)
        inflated = perf_counter()
        now_ms = self._clock.now_ms()
        call.done = self._process(body, scope, headers, call, now_ms)
        del raw, body  # what waits for the transport holds its records and nothing else
        if not call.done.records:
            raise Refusal(Code.ALL_EVENTS_REJECTED, details={"rejected": call.done.rejected})
        processed = perf_counter()
        call.accepted = len(call.done.records)
        call.stored = await self._publish(call, now_ms)
        self._figures.stages(read - call.begun, inflated - read, processed - inflated, perf_counter() - processed)
        return _accepted(call)

    def _process(self, body: bytes, scope: Scope, headers: dict[bytes, bytes], call: Call, now_ms: int) -> Processed:
        """Decode the batch, admit and charge its sender, forget where it came from, and make its records."""
        batch = self._intake.decode(body, self._limits)
        call.received = len(batch.events)
        if call.app is None:
            call.app = admit(self._registry.current(), batch.app_id)
        self._rate.charge(call.app, call.received, self._clock.monotonic_ms())
        client = scope["client"]
        seen = see(client[0] if client else None, scope["headers"], self._trusted, self._regions)
        own = OwnAddresses(seen.own)
        request = Request(
            app=call.app,
            request_id=call.request_id,
            received_at=self._timestamp(now_ms),
            region=seen.region,
            agent=self._agents.parse(without_own(headers.get(b"user-agent"), own)),
            own=own,
            environment=header_text(headers.get(b"x-environment"), own),
            sdk=header_text(headers.get(b"x-sdk-version"), own),
            user_agent=headers.get(b"user-agent"),
        )
        return process(batch, request, self._limits, self._intake.check, proven=self._intake.proven)

    def _inflate(self, encoding: bytes | None, raw: bytes, slot: Slot) -> bytes:
        if not encoding or encoding == b"identity":
            return raw
        body = inflate(encoding.decode("latin-1"), raw, inflated_bytes_max=self._body_limits.inflated_bytes_max)
        slot.grow(len(body))
        return body

    async def _publish(self, call: Call, now_ms: int) -> Stored:
        """Store the records of a batch, and let go of them: they are most of what a waiting request holds."""
        app, done, received = call.app, call.done, call.received
        assert app is not None
        assert done is not None
        self._figures.publish_rounds += 1
        records, done.records = done.records, []
        conversions, done.conversions = done.conversions, []
        storing = publish_with(self._publisher, self._intake.topic, records, conversions, now_ms)
        del records, conversions
        try:
            return await storing
        except Unavailable:
            self._figures.publish_failed("unavailable")
            self._rate.refund(app, received)
            raise Refusal(Code.UNAVAILABLE) from None
        except RecordTooLarge:
            self._figures.publish_failed("record_too_large")
            raise Refusal(Code.PAYLOAD_TOO_LARGE, details={"limit": "record_bytes"}) from None

    def _refuse(self, call: Call, refusal: Refusal) -> tuple[bytes, list[answer.Header]]:
        code = refusal.code
        call.status, call.code = code.value.status, code
        body = answer.envelope(code, call.request_id, refusal.message, refusal.details)
        wait_s = answer.retry_after(code, refusal.retry_after_s)
        return body, [(b"retry-after", b"%d" % wait_s)] if wait_s is not None else []

    def _finish(self, call: Call) -> None:
        """Count the request and write its line."""
        seconds = perf_counter() - call.begun
        done, code, figures = call.done, call.code, self._figures
        figures.request(self._intake.route, call.status, code.name if code else "none", seconds)
        figures.body(call.wire_bytes, call.inflated_bytes)
        accepted = call.accepted if call.stored is not None else 0
        kind = self._intake.counted_as
        if done is None or (call.stored is None and code is not Code.ALL_EVENTS_REJECTED):
            pass
        elif kind is not None:
            figures.statement(kind, call.stored, done.notes)
        else:
            figures.batch(
                call.received,
                call.stored,
                accepted=accepted,
                duplicates=done.duplicates,
                rejected=done.rejected,
                notes=done.notes,
            )
            if call.stored is not None:
                figures.routed(done.routed)
        self._log.write(call, self._intake.route, seconds, accepted)


def _content_length(header: bytes | None) -> int | None:
    return int(header) if header is not None and header.isdigit() else None


def _accepted(call: Call) -> bytes:
    done, stored = call.done, call.stored
    assert done is not None
    assert stored is not None
    rejected = msgspec.json.encode(done.rejected) if done.rejected else b"[]"
    return b'{"requestId":"%b","stored":"%b","accepted":%d,"duplicates":%d,"rejected":%b}' % (
        call.request_id.encode(),
        stored.encode(),
        call.accepted,
        done.duplicates,
        rejected,
    )
