"""The calls under `/v1/` as an ASGI application: who calls, the ladder, limits, repeats, then the work."""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote_to_bytes

import structlog
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ingest.counters.request_rate import RequestRate, Standing
from ingest.counters.tiers import Tier
from ingest.db.database import one_deadline
from ingest.db.queries.requests import RequestRow
from ingest.db.rows import KeyStanding
from ingest.edge import answer
from ingest.edge.body import ClientGone, read_body
from ingest.edge.client import TrustedProxies, see
from ingest.edge.collect import BodyLimits
from ingest.edge.framework import Framed
from ingest.edge.in_flight import InFlight
from ingest.edge.inflate import inflate
from ingest.edge.region import Regions
from ingest.errors import Code, Refusal
from ingest.partner.authenticate import Authenticator, check_standing
from ingest.partner.call import Answer, Call, Facts, Fault, Handler, invalid
from ingest.partner.fields import Fields
from ingest.partner.operations import OPERATIONS, USER_ID, USER_ID_CHARACTERS_MAX, Operation
from ingest.partner.places import Place, Places
from ingest.partner.repeat import Repeats
from ingest.partner.request_log import PartnerRequestLog, now
from ingest.partner.types import EventsRequest
from ingest.telemetry.metrics import Figures
from ingest.telemetry.request_log import RequestLog

SMALL_BODY: Final = BodyLimits(bytes_max=16 * 1024, inflated_bytes_max=16 * 1024, timeout_ms=1_000)
"""The bounds of a body that holds no events."""

QUERY_BYTES_MAX: Final = 4_096
QUERY_FIELDS_MAX: Final = 20

_log = structlog.get_logger(__name__)


_is_id = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII).fullmatch


class Doors(NamedTuple):
    """What every call passes before its work, made by `wiring`."""

    authenticator: Authenticator
    rate: RequestRate
    repeats: Repeats
    strangers: InFlight
    places: Places
    body_limits: BodyLimits
    trusted: TrustedProxies
    regions: Regions


def partner_surface(
    handlers: Mapping[str, Handler],
    doors: Doors,
    figures: Figures,
    log: RequestLog,
    request_log: PartnerRequestLog,
) -> ASGIApp:
    """Return the ASGI application that partners' backends talk to; `handlers` are named as the operations."""

    def answered(scope: Scope, request_id: str, status: int, code: str, seconds: float) -> None:
        state: Mapping[str, Any] = scope["state"]
        route, facts = state.get("route", "other"), state.get("facts", _NOTHING)
        refused = None if code == "none" else code
        figures.request(route, status, code, seconds)
        log.write_plain(request_id, route, status, seconds, refused)
        if facts.key_id is None:
            return  # what strangers ask for is counted, and does not fill the database
        request_log.add(
            RequestRow(
                at=now(),
                request_id=request_id,
                organization_id=facts.organization_id,
                project_id=facts.project_id,
                app_id=facts.app_id,
                key_id=facts.key_id,
                route=route,
                method=scope["method"],
                status=status,
                code=refused,
                latency_ms=seconds * 1_000,
                request_bytes=facts.request_bytes,
                response_bytes=facts.response_bytes,
            )
        )

    paths: dict[str, dict[str, _Door]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _Door(operation, handlers[operation.name], doors)
    return Framed([_route(path, by_method) for path, by_method in paths.items()], {}, answered, cors=False)


_NOTHING: Final = Facts()


def _route(path: str, by_method: "Mapping[str, _Door]") -> Route:
    route = Route(path.replace(f"{{{USER_ID}}}", f"{{{USER_ID}:path}}"), _Dispatch(by_method), methods=list(by_method))
    route.methods = set(by_method)  # without the HEAD that the framework adds to a GET
    pattern = route.path_regex.pattern.removesuffix("$")
    route.path_regex = re.compile(pattern + r"\Z", re.DOTALL)  # `$` would let a line end follow, `.` would know none
    return route


class _Dispatch:
    """The calls of one path, by method. The framework takes an instance for an application of its own."""

    def __init__(self, by_method: "Mapping[str, _Door]") -> None:
        self._by_method = by_method

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._by_method[scope["method"]](scope, receive, send)


class _Asked(NamedTuple):
    """A request as ASGI hands it on, its headers by name, the last one of each."""

    scope: Scope
    receive: Receive
    headers: Mapping[bytes, bytes]


class _Door:
    """The way into one operation."""

    def __init__(self, operation: Operation, handler: Handler, doors: Doors) -> None:
        self._operation = operation
        self._handler = handler
        self._doors = doors
        self._limits = doors.body_limits if operation.request is EventsRequest else SMALL_BODY

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        state: dict[str, Any] = scope["state"]
        facts = Facts()
        state["route"], state["facts"] = self._operation.path, facts
        headers: list[answer.Header] = []
        try:
            with one_deadline():
                done = await self._in_its_place(scope, receive, facts, headers)
            status, body = done.status, answer.encode(done.body)
        except ClientGone:
            return
        except Refusal as refused:
            status, body = refused.code.value.status, _envelope(refused, state["request_id"], headers)
            state["code"] = refused.code.name
        if facts.replayed:
            headers.append((b"idempotency-replayed", b"true"))
        facts.response_bytes = len(body)
        headers += [answer.JSON_CONTENT, (b"content-length", b"%d" % len(body)), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _in_its_place(self, scope: Scope, receive: Receive, facts: Facts, headers: list[answer.Header]) -> Answer:
        """Find out who calls, then answer within the bounds on work; a bug costs this call alone.

        Strangers have a bound of their own, so that they take no place from those who are known.
        """
        asked = _Asked(scope, receive, dict(scope["headers"]))
        try:
            with self._doors.strangers.enter():
                key = await self._doors.authenticator.authenticate(asked.headers.get(b"authorization"))
            facts.key_id, facts.organization_id = key.id, key.organization_id
            with self._doors.places.enter(key.id) as place:
                return await self._answer(asked, key, facts, place, headers)
        except (Refusal, ClientGone):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer keeps the headers that it has by now
            _log.error("bug", error=error, request_id=scope["state"]["request_id"])
            raise Refusal(Code.INTERNAL) from None

    async def _answer(
        self, asked: "_Asked", key: KeyStanding, facts: Facts, place: Place, headers: list[answer.Header]
    ) -> Answer:
        """Climb the rest of the ladder, then do the work; `headers` gets what belongs on any answer from there on."""
        operation, doors, scope = self._operation, self._doors, asked.scope
        try:
            check_standing(key, operation.scope)
        except Refusal:
            headers += _rate_headers(await doors.rate.peek(key.id, Tier(key.tier), operation.endpoint_class))
            raise
        standing = await doors.rate.hit(key.id, Tier(key.tier), operation.endpoint_class)
        headers += _rate_headers(standing)
        if not standing.allowed:
            details = {"limit": standing.limit, "endpointClass": standing.endpoint_class}
            raise Refusal(Code.RATE_LIMITED, details=details, retry_after_s=standing.reset_s)
        call = Call(
            key=key,
            request_id=scope["state"]["request_id"],
            path=_path_ids(scope),
            query=_query(scope, operation),
            body=await self._body(asked, facts, place) if operation.repeatable else b"",
            facts=facts,
            own_addresses=_own_addresses(scope, doors),
        )
        if operation.repeatable:  # its body may have taken its time
            await doors.authenticator.again(key, operation.scope)
        return await doors.repeats.once(operation, self._handler, call, asked.headers.get(b"idempotency-key"))

    async def _body(self, asked: "_Asked", facts: Facts, place: Place) -> bytes:
        limits, length = self._limits, asked.headers.get(b"content-length", b"")
        raw = await read_body(
            asked.receive,
            content_length=int(length) if length.isdigit() else None,
            bytes_max=limits.bytes_max,
            timeout_ms=limits.timeout_ms,
            grow=place.grow,
        )
        facts.request_bytes = len(raw)
        encoding = asked.headers.get(b"content-encoding", b"").decode("latin-1")
        body = inflate(encoding, raw, inflated_bytes_max=limits.inflated_bytes_max)
        if body is not raw:
            place.grow(len(body))
        return body


def _path_ids(scope: Scope) -> dict[str, str]:
    """Return the path's parameters. Raises `Refusal` with `NOT_FOUND` where one cannot be an id."""
    found: dict[str, str] = scope["path_params"]
    for name, value in found.items():
        if not (_is_user_id(value, scope) if name == USER_ID else _is_id(value)):
            raise Refusal(Code.NOT_FOUND)
    return found


def _is_user_id(value: str, scope: Scope) -> bool:
    """Tell whether somebody may have this id: a text without a zero character, all of it sent as UTF-8."""
    if not 0 < len(value) <= USER_ID_CHARACTERS_MAX or "\0" in value:
        return False
    if "\ufffd" not in value:
        return True
    try:  # what is no UTF-8 would otherwise be taken for the id of somebody who is called so
        unquote_to_bytes(scope["raw_path"]).decode()
    except UnicodeDecodeError:
        return False
    return True


def _query(scope: Scope, operation: Operation) -> dict[str, str]:
    """Return the query's parameters.

    Raises `Refusal` with `VALIDATION` where it is too long, names one twice, or any to a call that takes none.
    """
    raw: bytes = scope["query_string"]
    if len(raw) > QUERY_BYTES_MAX or raw.count(b"&") >= QUERY_FIELDS_MAX:
        raise invalid([Fault("", "the query is too long")])
    pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True)
    if len(dict(pairs)) < len(pairs):
        raise invalid([Fault("", "the query names a parameter twice")])
    query = dict(pairs)
    if not operation.query:
        Fields(query).done()
    return query


def _own_addresses(scope: Scope, doors: Doors) -> tuple[Any, ...]:
    client = scope["client"]
    return see(client[0] if client else None, scope["headers"], doors.trusted, doors.regions).own


def _rate_headers(standing: Standing) -> list[answer.Header]:
    return [
        (b"x-ratelimit-limit", b"%d" % standing.limit),
        (b"x-ratelimit-remaining", b"%d" % standing.remaining),
        (b"x-ratelimit-reset", b"%d" % standing.reset_s),
        (b"x-ratelimit-endpoint-class", standing.endpoint_class.encode()),
    ]


def _envelope(refused: Refusal, request_id: str, headers: list[answer.Header]) -> bytes:
    code = refused.code
    wait_s = answer.retry_after(code, refused.retry_after_s)
    if wait_s is not None:
        headers.append((b"retry-after", b"%d" % wait_s))
    if code in (Code.UNAUTHENTICATED, Code.REVOKED):
        headers.append((b"www-authenticate", b"Bearer"))
    return answer.envelope(code, request_id, refused.message, refused.details)
