"""`GET /c/{app_id}`: a click on a paid-media link is recorded, and the person sent on to the app's own store or site.

The person comes first: what cannot be recorded is counted, and the redirect is answered all the same.
"""

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from ingest.clock import Clock
from ingest.edge.agent import Agents
from ingest.edge.answer import new_request_id
from ingest.edge.client import TrustedProxies, see
from ingest.edge.in_flight import InFlight
from ingest.edge.region import Regions
from ingest.errors import Code, Refusal
from ingest.pipeline import request as pipeline
from ingest.pipeline.click import Target, choose, location, parameters_of, process_click
from ingest.pipeline.header import without_own
from ingest.registry.admission import admit
from ingest.registry.model import App
from ingest.registry.rate import EventRate
from ingest.registry.snapshot import Registry
from ingest.telemetry.catalog import ClickFate
from ingest.telemetry.metrics import Figures
from ingest.telemetry.timestamp import Timestamps
from ingest.transport.contract import Publisher, RecordTooLarge, Topic, Unavailable
from normalize import OwnAddresses

ROUTE: Final = "/c/{app_id}"
METHODS: Final = ("GET", "HEAD")

_NOBODY: Final = frozenset((Code.UNAUTHENTICATED, Code.REVOKED))
_HEADERS: Final = {"cache-control": "no-store", "referrer-policy": "no-referrer"}


class Clicks:
    """Answers for all apps."""

    def __init__(
        self,
        *,
        registry: Registry,
        publisher: Publisher,
        regions: Regions,
        agents: Agents,
        trusted: TrustedProxies,
        rate: EventRate,
        in_flight: InFlight,
        limits: pipeline.Limits,
        clock: Clock,
        figures: Figures,
    ) -> None:
        self._registry = registry
        self._publisher = publisher
        self._regions = regions
        self._agents = agents
        self._trusted = trusted
        self._rate = rate
        self._in_flight = in_flight
        self._limits = limits
        self._clock = clock
        self._figures = figures
        self._timestamp = Timestamps().of

    async def answer(self, http: Request) -> Response:
        """Answer one request. Raises `Refusal`: `NOT_FOUND` for an app without target too, else as `admit` does."""
        app = self._app(http.path_params["app_id"])
        client = http.scope["client"]
        seen = see(client[0] if client else None, http.scope["headers"], self._trusted, self._regions)
        own = OwnAddresses(seen.own)
        agent = self._agents.parse(without_own(_user_agent(http), own))
        chosen = choose(app, agent.os.name if agent.os else None)
        if chosen is None:
            raise Refusal(Code.NOT_FOUND)
        target, url = chosen
        parameters = parameters_of(http.scope["query_string"])
        if http.method != "HEAD":
            now_ms = self._clock.now_ms()
            made = pipeline.Request(
                app, http.scope["state"]["request_id"], self._timestamp(now_ms), seen.region, agent, own
            )
            self._figures.clicks[await self._record(target, parameters, made, now_ms)] += 1
        return Response(status_code=302, headers={**_HEADERS, "location": location(target, url, parameters)})

    def _app(self, app_id: str) -> App:
        try:
            return admit(self._registry.current(), app_id)
        except Refusal as refusal:
            if refusal.code in _NOBODY:
                raise Refusal(Code.NOT_FOUND) from None
            raise

    async def _record(
        self, target: Target, parameters: Mapping[str, str], made: pipeline.Request, now_ms: int
    ) -> ClickFate:
        """Store a click within the transport's deadline, and tell what became of it. Never refuses."""
        try:
            slot = self._in_flight.enter()
        except Refusal:
            return ClickFate.OVERLOADED
        with slot:
            try:
                self._rate.charge(made.app, 1, self._clock.monotonic_ms())
            except Refusal:
                return ClickFate.RATE_LIMITED
            click_id = "clk_" + new_request_id().removeprefix("req_")
            done = process_click(click_id, target, parameters, made, self._limits)
            if not done.records:
                return ClickFate.REJECTED
            self._figures.publish_rounds += 1
            try:
                stored = await self._publisher.publish(Topic.CLICKS, done.records, now_ms)
            except Unavailable:
                self._figures.publish_failed("unavailable")
                self._rate.refund(made.app, 1)
                return ClickFate.UNAVAILABLE
            except RecordTooLarge:
                self._figures.publish_failed("record_too_large")
                return ClickFate.REJECTED
        return ClickFate(stored)


def _user_agent(http: Request) -> bytes | None:
    return next((value for name, value in http.scope["headers"] if name == b"user-agent"), None)
