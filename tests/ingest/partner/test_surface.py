"""The way into a call: what is looked at in which order, what an answer has, and that places are given back."""

import asyncio
import contextlib
import gzip
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast
from urllib.parse import quote, unquote

import pytest

from ingest.clock import FakeClock
from ingest.counters.memory_idempotency import MemoryIdempotency
from ingest.counters.request_rate import Standing
from ingest.counters.tiers import EndpointClass, Tier
from ingest.db.queries.requests import RequestRow
from ingest.db.rows import KeyStanding
from ingest.edge.client import TrustedProxies
from ingest.edge.collect import BodyLimits
from ingest.edge.in_flight import InFlight
from ingest.edge.region import Regions
from ingest.errors import Code, Refusal
from ingest.partner.authenticate import Authenticator, check_same
from ingest.partner.call import Answer, Call
from ingest.partner.operations import OPERATIONS, USER_ID_CHARACTERS_MAX
from ingest.partner.places import SHARE, Places
from ingest.partner.repeat import Repeats
from ingest.partner.surface import QUERY_BYTES_MAX, QUERY_FIELDS_MAX, SMALL_BODY, Doors, partner_surface
from ingest.telemetry.metrics import Figures
from tests.ingest.partner.callers import KEY_ID, STANDING, standing

LIMITS = BodyLimits(bytes_max=1_000, inflated_bytes_max=2_000, timeout_ms=10_000)
RATE = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "x-ratelimit-endpoint-class"]
BODY = ["content-type", "content-length", "cache-control", "x-request-id"]
KILL = f"/v1/api-keys/{KEY_ID}/kill"


class Told(NamedTuple):
    """One answer; `headers` in their order."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The error code, empty where it is no error."""
        return str(json.loads(self.body).get("error", {}).get("code", "")) if self.status >= 400 else ""

    @property
    def details(self) -> Any:
        """What is told of the reason."""
        return json.loads(self.body)["error"].get("details")


class Rate:
    """Counts calls, and refuses them from a number on."""

    def __init__(self) -> None:
        self.hits: list[tuple[str, Tier, EndpointClass]] = []
        self.peeks = 0
        self.calls_max = 10

    async def hit(self, key_id: str, tier: Tier, cls: EndpointClass) -> Standing:
        """Count a call."""
        self.hits.append((key_id, tier, cls))
        return self._standing(cls)

    async def peek(self, _: str, __: Tier, cls: EndpointClass) -> Standing:
        """Count nothing."""
        self.peeks += 1
        return self._standing(cls)

    def _standing(self, cls: EndpointClass) -> Standing:
        left = self.calls_max - len(self.hits)
        return Standing(cls, self.calls_max, max(0, left), 42, allowed=left >= 0)


class World:
    """The surface over handlers that keep their calls, with whoever calls."""

    def __init__(self) -> None:
        self.caller: KeyStanding | Refusal | Exception = STANDING
        self.caller_later: KeyStanding | None = None
        self.seen_authorization: list[bytes | None] = []
        self.calls: list[tuple[str, Call]] = []
        self.outcome: Answer | BaseException = Answer(200, {"done": True})
        self.rate = Rate()
        self.in_flight = InFlight(requests_max=2 * SHARE, bytes_max=5_000 * SHARE)
        self.places_of_keys = Places(self.in_flight)
        self.strangers = InFlight(requests_max=1, bytes_max=1)
        self.places: list[int] = []
        self.figures = Figures()
        self.rows: list[RequestRow] = []
        self.lines: list[tuple[Any, ...]] = []
        doors = Doors(
            authenticator=cast("Authenticator", self),
            rate=cast("Any", self.rate),
            repeats=Repeats(MemoryIdempotency(FakeClock())),
            strangers=self.strangers,
            places=self.places_of_keys,
            body_limits=LIMITS,
            trusted=TrustedProxies(),
            regions=Regions([]),
        )
        handlers = {operation.name: self._handler(operation.name) for operation in OPERATIONS}
        log: Any = self
        self.app = partner_surface(handlers, doors, self.figures, log, log)

    async def authenticate(self, header: bytes | None) -> KeyStanding:
        """Stand for the authenticator."""
        self.seen_authorization.append(header)
        if isinstance(self.caller, BaseException):
            raise self.caller
        return self.caller

    def add(self, row: RequestRow) -> None:
        """Stand for the request log in the database."""
        self.rows.append(row)

    async def again(self, before: KeyStanding, scope: str | None) -> None:
        """Stand for the authenticator, as a body has been read."""
        check_same(before, self.caller_later or before, scope)

    def write_plain(self, *line: Any) -> None:
        """Stand for the log."""
        self.lines.append(line)

    def _handler(self, name: str) -> Any:
        async def handle(call: Call) -> Answer:
            self.places.append(self.in_flight.requests)
            self.calls.append((name, call))
            if isinstance(self.outcome, BaseException):
                raise self.outcome
            return self.outcome

        return handle

    def ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        gone: bool = False,
    ) -> Told | None:
        """Send a request, and return the answer, None where nobody was answered."""
        path, _, query = target.partition("?")
        named = [(b"authorization", b"Bearer key")]
        named += [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
        scope = {
            "type": "http",
            "method": method,
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": named,
            "client": ("192.0.2.7", 1234),
        }
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.disconnect"} if gone else {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        async def answer() -> None:
            await self.app(scope, receive, send)

        held = self.in_flight.requests, self.in_flight.bytes
        asyncio.run(answer())
        assert (self.in_flight.requests, self.in_flight.bytes) == held, "a place was not given back"
        if not sent:
            return None
        start, rest = sent
        answered = {name.decode(): value.decode() for name, value in start["headers"]}
        assert len(answered) == len(start["headers"]), "a header stands twice"
        assert answered["content-length"] == str(len(rest["body"]))
        return Told(start["status"], answered, rest["body"])

    def told(self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Told:
        """Send a request that is answered."""
        told = self.ask(method, target, body, headers)
        assert told is not None
        return told


@pytest.fixture
def world() -> World:
    """Make a surface."""
    return World()


def test_a_call_reaches_its_handler(world: World) -> None:
    """The handler gets who calls, what was sent, and where from; the answer has all headers in their order."""
    told = world.told("POST", KILL, b"{}", {"X-Request-Id": "req_01JDF3QK4V8Z6X2M9T5B7C1DHE"})
    ((name, call),) = world.calls

    assert (told.status, json.loads(told.body)) == (200, {"done": True})
    assert list(told.headers) == [*RATE, *BODY]
    assert told.headers["x-request-id"] == call.request_id == "req_01JDF3QK4V8Z6X2M9T5B7C1DHE"
    assert told.headers["content-type"] == "application/json"
    assert told.headers["cache-control"] == "no-store"
    assert [told.headers[each] for each in RATE] == ["10", "9", "42", "write"]
    assert (name, call.key, call.path, call.query, call.body) == ("killApiKey", STANDING, {"keyId": KEY_ID}, {}, b"{}")
    assert [str(address) for address in call.own_addresses] == ["192.0.2.7"]
    assert world.places == [1]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_operation_has_its_door(world: World, operation: Any) -> None:
    """Each call is counted by its class, and needs its scope."""
    path = operation.path.format(keyId=KEY_ID, projectId="prj_demo", userId="u-1", erasureId="era_1")
    assert world.told(operation.method, path).status == 200
    assert [name for name, _ in world.calls] == [operation.name]
    assert world.rate.hits == [(KEY_ID, Tier.STANDARD, operation.endpoint_class)]
    assert world.rows[0].route == operation.path

    world.caller = standing(scopes=[])
    refused = world.told(operation.method, path)
    assert refused.status == (200 if operation.scope is None else 403)
    assert operation.scope is None or refused.details == {"requiredScope": operation.scope}


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("HEAD", "/v1/whoami", 405, "GET"),
        ("OPTIONS", "/v1/whoami", 405, "GET"),
        ("GET", "/v1/events", 405, "POST"),
        ("POST", f"/v1/api-keys/{KEY_ID}", 405, "DELETE"),
        ("get", "/v1/whoami", 405, "GET"),
        ("GET", "/v1/", 404, None),
        ("GET", "/v1/whoami/", 404, None),
        ("GET", "/v1/whoami\n", 404, None),
        ("GET", "/v1//whoami", 404, None),
        ("GET", "/v1/openapi.json", 404, None),
        ("POST", "/v1/api-keys/a/b/kill", 404, None),
        ("POST", "/v1/api-keys//kill", 404, None),
    ],
)
def test_what_is_no_call(world: World, method: str, path: str, status: int, allow: str | None) -> None:
    """Unknown paths and methods are answered without asking who calls, and the methods of a path are told."""
    told = world.told(method, path)

    assert (told.status, told.headers.get("allow")) == (status, allow)
    assert told.code == ("NOT_FOUND" if status == 404 else "METHOD_NOT_ALLOWED")
    assert (world.seen_authorization, world.rate.hits, world.calls) == ([], [], [])
    assert world.rows == []


def test_nobody_known_gets_no_rate(world: World) -> None:
    """Without a known key nothing is counted or read, and the scheme is named."""
    world.caller = Refusal(Code.UNAUTHENTICATED)
    told = world.told("POST", KILL, b"x" * 5_000)

    assert (told.status, told.code) == (401, "UNAUTHENTICATED")
    assert list(told.headers) == ["www-authenticate", *BODY]
    assert told.headers["www-authenticate"] == "Bearer"
    assert world.seen_authorization == [b"Bearer key"]
    assert (world.rate.hits, world.rate.peeks) == ([], 0)


@pytest.mark.parametrize(
    ("caller", "code", "more"),
    [
        (standing(kill_switch=True), "KILL_SWITCH", ["retry-after"]),
        (standing(is_active=False), "REVOKED", ["www-authenticate"]),
        (standing(organization_killed=True), "KILL_SWITCH", ["retry-after"]),
        (standing(global_killed=True), "KILL_SWITCH", ["retry-after"]),
        (standing(scopes=[]), "FORBIDDEN_SCOPE", []),
    ],
)
def test_a_known_key_that_may_not_is_not_counted(world: World, caller: KeyStanding, code: str, more: list[str]) -> None:
    """Steps above the limit tell where the key stands, and cost it nothing."""
    world.caller = caller
    told = world.told("POST", KILL)

    assert told.code == code
    assert list(told.headers) == [*RATE, *more, *BODY]
    assert told.headers["x-ratelimit-remaining"] == "10"
    assert (world.rate.hits, world.rate.peeks, world.calls) == ([], 1, [])
    assert (world.rows[0].key_id, world.rows[0].organization_id) == (KEY_ID, STANDING.organization_id)


def test_a_limit_that_is_used_up(world: World) -> None:
    """Beyond the limit no body is read, and the wait is at least until the minute ends."""
    world.rate.calls_max = 0
    told = world.told("POST", KILL, b"x" * 5_000)

    assert (told.status, told.code) == (429, "RATE_LIMITED")
    assert told.details == {"limit": 0, "endpointClass": "write"}
    assert list(told.headers) == [*RATE, "retry-after", *BODY]
    assert int(told.headers["retry-after"]) >= 42
    assert world.calls == []


@pytest.mark.parametrize("key_id", ["a.b", "a b", "ü", "x" * 65, "\0", "a\n", "\N{REPLACEMENT CHARACTER}"])
def test_what_cannot_be_an_id_is_not_found(world: World, key_id: str) -> None:
    """A path that holds no id is not found, once it is known who asks."""
    told = world.told("POST", f"/v1/api-keys/{key_id}/kill")

    assert (told.status, told.code) == (404, "NOT_FOUND")
    assert list(told.headers) == [*RATE, *BODY]
    assert world.calls == []


USER = "/v1/projects/prj_demo/events/users/"
USER_IDS = [
    "u-1",
    "a b",
    "a/b",
    "/",
    "//a//",
    "..",
    "../../../../whoami",
    ".",
    "ann@example.com",
    "a?b#c%2F&=+;",
    "\n",
    " ",
    "\u202e",
    "Zoë \N{PILE OF POO}",
    "\N{REPLACEMENT CHARACTER}",
    "\N{PILE OF POO}" * USER_ID_CHARACTERS_MAX,
]


@pytest.mark.parametrize("user_id", USER_IDS, ids=lambda user_id: ascii(user_id[:20]))
@pytest.mark.parametrize("spelling", [lambda text: quote(text, safe=""), quote], ids=["slashes too", "but slashes"])
def test_a_user_id_is_any_text(world: World, user_id: str, spelling: Callable[[str], str]) -> None:
    """What stands behind the last step of the path is the id, whatever it looks like, once it is decoded."""
    for method in ("GET", "DELETE"):
        told = world.told(method, USER + spelling(user_id))

        assert told.status == 200
        assert world.calls[-1][1].path == {"projectId": "prj_demo", "userId": user_id}
    assert {row.route for row in world.rows} == {"/v1/projects/{projectId}/events/users/{userId}"}
    assert {line[1] for line in world.lines} == {"/v1/projects/{projectId}/events/users/{userId}"}


@pytest.mark.parametrize(
    "spelled", ["%00", "a%00b", "%FF", "a%C3", "%ED%A0%80", "x" * (USER_ID_CHARACTERS_MAX + 1), ""]
)
def test_what_cannot_be_a_user_id_is_not_found(world: World, spelled: str) -> None:
    """Zero characters and what is no UTF-8 stand in no row; nobody else's id is taken for it."""
    told = world.told("DELETE", USER + spelled)

    assert (told.status, told.code) == (404, "NOT_FOUND")
    assert world.calls == []


@pytest.mark.parametrize("project_id", ["a.b", "a b", "x" * 65, "a\n", "a%2Fb"])
def test_what_cannot_be_a_project_is_not_found(world: World, project_id: str) -> None:
    """The path's other parts stay ids."""
    assert world.told("GET", f"/v1/projects/{quote(project_id, safe='%')}/events/users/u-1").status == 404
    assert world.told("GET", f"/v1/projects/prj_demo/erasures/{quote(project_id, safe='%')}").status == 404
    assert world.calls == []


@pytest.mark.parametrize(
    ("target", "paths"),
    [
        ("/v1/whoami?verbose=1", ["*"]),
        ("/v1/whoami?a%20b=1", ["*"]),
        ("/v1/api-keys?limit=1&limit=2", [""]),
        ("/v1/api-keys?limit=" + "1" * QUERY_BYTES_MAX, [""]),
        ("/v1/api-keys?" + "&" * QUERY_FIELDS_MAX, [""]),
    ],
)
def test_queries_that_are_refused(world: World, target: str, paths: list[str]) -> None:
    """What a call does not know, names twice or is too long is told, and not handled."""
    told = world.told("GET", target)

    assert (told.status, told.code) == (422, "VALIDATION")
    assert [each["path"] for each in told.details["errors"]] == paths
    assert list(told.headers) == [*RATE, *BODY]
    assert world.calls == []


def test_writes_take_no_query(world: World) -> None:
    """A parameter to a call that takes none is refused for writes as well."""
    assert world.told("DELETE", f"/v1/api-keys/{KEY_ID}?force=1").code == "VALIDATION"
    assert world.calls == []


def test_queries_are_decoded(world: World) -> None:
    """Parameters reach the handler as texts, empty ones too; bytes that are none are replaced."""
    world.told("GET", "/v1/audit-log?actor=a%20b&action=&targetId=%FF")

    assert world.calls[0][1].query == {"actor": "a b", "action": "", "targetId": "\N{REPLACEMENT CHARACTER}"}


@pytest.mark.parametrize(
    ("body", "headers", "code", "details"),
    [
        (b"x" * 1_001, {}, "PAYLOAD_TOO_LARGE", {"limit": "body_bytes", "max": 1_000}),
        (b"", {"Content-Length": "1001"}, "PAYLOAD_TOO_LARGE", {"limit": "body_bytes", "max": 1_000}),
        (
            gzip.compress(b"x" * 2_001),
            {"Content-Encoding": "gzip"},
            "PAYLOAD_TOO_LARGE",
            {"limit": "inflated_bytes", "max": 2_000},
        ),
        (b"{}", {"Content-Encoding": "gzip"}, "INVALID_JSON", None),
        (b"{}", {"Content-Encoding": "gzip, br"}, "UNSUPPORTED_ENCODING", None),
    ],
)
def test_bodies_that_are_refused(
    world: World, body: bytes, headers: Mapping[str, str], code: str, details: object
) -> None:
    """Bounds hold on the wire and inflated; what was counted of a body is given back."""
    told = world.told("POST", "/v1/events", body, headers)

    assert (told.code, told.details) == (code, details)
    assert list(told.headers) == [*RATE, *BODY]
    assert world.calls == []


def test_bodies_without_events_are_small(world: World) -> None:
    """A call that takes no events reads no more than a small body."""
    told = world.told("POST", KILL, b"x" * (SMALL_BODY.bytes_max + 1))

    assert (told.code, told.details) == ("PAYLOAD_TOO_LARGE", {"limit": "body_bytes", "max": SMALL_BODY.bytes_max})


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"secret_hash": "another"}, "UNAUTHENTICATED"),
        ({"known": False}, "UNAUTHENTICATED"),
        ({"is_active": False}, "REVOKED"),
        ({"kill_switch": True}, "KILL_SWITCH"),
        ({"organization_killed": True}, "KILL_SWITCH"),
        ({"global_killed": True}, "KILL_SWITCH"),
        ({"scopes": []}, "FORBIDDEN_SCOPE"),
    ],
)
def test_the_ladder_is_climbed_again_behind_the_body(world: World, change: dict[str, Any], code: str) -> None:
    """What happened to a key while its body arrived counts: a call that was held back outlasts no remedy."""
    world.caller_later = standing(**change)

    assert world.told("POST", KILL, b"{}").code == code
    assert world.calls == []


def test_bodies_are_inflated(world: World) -> None:
    """The handler gets the body behind its encoding; the log counts what came by the wire."""
    packed = gzip.compress(b"{}" * 100)
    world.told("POST", KILL, packed, {"Content-Encoding": "GZIP"})

    assert world.calls[0][1].body == b"{}" * 100
    assert world.rows[0].request_bytes == len(packed)


def test_reads_have_no_body(world: World) -> None:
    """What is sent along with a GET is not looked at."""
    assert world.told("GET", "/v1/whoami", b"x" * 5_000).status == 200
    assert world.calls[0][1].body == b""


def test_all_bytes_at_once_are_bounded(world: World) -> None:
    """A body for which there is no room is refused, and may come again."""
    world.in_flight.bytes_max = 10
    told = world.told("POST", KILL, b"x" * 11)

    assert (told.status, told.code) == (503, "OVERLOADED")
    assert list(told.headers) == [*RATE, "retry-after", *BODY]


def test_all_calls_at_once_are_bounded(world: World) -> None:
    """A key has its share of the places, all keys together have all, and strangers have places of their own."""
    refused = (503, "OVERLOADED", ["retry-after", *BODY])

    def outcome() -> tuple[int, str | None, list[str]]:
        told = world.told("GET", "/v1/whoami")
        return told.status, told.code if told.status >= 400 else None, list(told.headers)

    with world.places_of_keys.enter(KEY_ID), world.places_of_keys.enter(KEY_ID):
        assert outcome() == refused
    with contextlib.ExitStack() as others:
        for number in range(2 * SHARE):
            others.enter_context(world.places_of_keys.enter(f"key {number // 2}"))
        assert outcome() == refused
    assert outcome()[0] == 200

    with world.strangers.enter():
        asked = len(world.seen_authorization)
        assert outcome() == refused
        assert len(world.seen_authorization) == asked
    assert outcome()[0] == 200


def test_a_client_that_is_gone(world: World) -> None:
    """Nobody is answered whose connection ended before the body was there."""
    assert world.ask("POST", KILL, gone=True) is None
    assert world.calls == []


def test_a_bug_costs_one_call(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A bug is answered with the headers that were known by then, tells nothing, and frees the idempotency key."""
    world.outcome = ZeroDivisionError("what somebody sent")
    key = {"Idempotency-Key": "order-4711"}
    told = world.told("POST", KILL, b"{}", key)

    assert (told.status, told.code) == (500, "INTERNAL")
    assert list(told.headers) == [*RATE, *BODY]
    assert b"somebody" not in told.body
    assert world.rows[0].code == "INTERNAL"
    capsys.readouterr()  # the line of the bug

    world.outcome = Answer(200, {"done": True})
    assert "idempotency-replayed" not in world.told("POST", KILL, b"{}", key).headers


def test_a_bug_before_the_key_is_known(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """What breaks on the way in is answered alike, without a limit."""
    world.caller = RuntimeError("what somebody sent")
    told = world.told("GET", "/v1/whoami")

    assert (told.status, told.code, list(told.headers)) == (500, "INTERNAL", BODY)
    capsys.readouterr()


def test_refusals_of_handlers(world: World) -> None:
    """A handler's refusal is answered with its message and its wait."""
    world.outcome = Refusal(Code.UNAVAILABLE, "Not now.", retry_after_s=100)
    told = world.told("GET", "/v1/whoami")

    assert (told.status, json.loads(told.body)["error"]["message"]) == (503, "Not now.")
    assert 100 <= int(told.headers["retry-after"]) <= 150
    assert list(told.headers) == [*RATE, "retry-after", *BODY]


def test_repeats_say_so(world: World) -> None:
    """The answer to a repeat has a header more, whether all went well or not; each repeat is counted as a call."""
    key = {"Idempotency-Key": "order-4711"}
    assert "idempotency-replayed" not in world.told("POST", KILL, b"{}", key).headers
    again = world.told("POST", KILL, b"{}", key)
    assert list(again.headers) == [*RATE, "idempotency-replayed", *BODY]
    assert again.headers["idempotency-replayed"] == "true"
    assert len(world.rate.hits) == 2

    world.outcome = Refusal(Code.VALIDATION)
    other = {"Idempotency-Key": "order-4712"}
    assert "idempotency-replayed" not in world.told("POST", KILL, b"{}", other).headers
    assert world.told("POST", KILL, b"{}", other).headers["idempotency-replayed"] == "true"
    assert world.told("POST", KILL, b"[]", other).code == "IDEMPOTENCY_CONFLICT"


def test_answers_leave_a_row_and_a_line(world: World) -> None:
    """The row of a known key names who and what by ids and templates, and sizes; what strangers ask leaves a line."""
    world.told("POST", KILL, b'{"reason": "why"}')
    world.told("BREW", "/v1/whoami")
    (done,) = world.rows

    assert (done.route, done.method, done.status, done.code) == ("/v1/api-keys/{keyId}/kill", "POST", 200, None)
    assert (done.key_id, done.organization_id) == (KEY_ID, STANDING.organization_id)
    assert (done.request_bytes, done.response_bytes) == (17, len(b'{"done":true}'))
    assert [(line[1], line[2], line[4]) for line in world.lines] == [
        ("/v1/api-keys/{keyId}/kill", 200, None),
        ("other", 405, "METHOD_NOT_ALLOWED"),
    ]
    assert sum(world.figures.requests.values()) == 2
