"""The partner surface and its description agree: calls that are made from the one are checked against the other.

Everything is generated from a fixed seed, so that a run finds what the run before it found.
"""

import asyncio
import hashlib
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import jsonschema_rs
import psycopg
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi import checks as laws

from devservices.postgres import create_database, drop_database
from ingest.control.keys import SCOPES, create_key
from ingest.control.organizations import create_app, create_organization, create_project
from ingest.control.record import Actor
from ingest.control.secrets import hash_secret, mint
from ingest.db.migrate import migrate
from ingest.db.rows import Key
from ingest.outcome import RejectionCode
from ingest.partner.fields import CURSOR_CHARACTERS_MAX
from ingest.partner.openapi import PATH_ID, describe
from ingest.partner.operations import OPERATIONS
from ingest.transport.sealed import SealKeys
from tests.integration.edge import ask
from tests.support.service import ServiceProcess

APP: Final = "app_test"
EXAMPLES_MAX: Final = 25
SEED: Final = 4711

CHECKS: Final[list[Any]] = [
    laws.status_code_conformance,
    laws.content_type_conformance,
    laws.response_schema_conformance,
    laws.response_headers_conformance,
    laws.unsupported_method,
    laws.allow_header_conformance,
    laws.ignored_auth,
    # Not `missing_required_header`: no call requires a header but that of the key, which `ignored_auth` leaves out.
    # Not `use_after_free` and `ensure_resource_availability`: no call makes a thing, and what is retired stays to be
    # seen. Not `object_level_authorization`: it needs calls that make things, too.
]
DATA_CHECKS: Final[list[Any]] = [laws.negative_data_rejection, laws.positive_data_acceptance]
"""Not for `takeEvents`, where a fault of one event is not one of the request: `assert_verdicts` is its law."""

_is_cursor = re.compile(rf"[A-Za-z0-9_-]{{1,{CURSOR_CHARACTERS_MAX}}}").fullmatch
_is_repeat_key = re.compile(r"[!-~]{1,255}").fullmatch

BESIDE_THE_SCHEMA: Final = {RejectionCode.INVALID_TIMESTAMP, RejectionCode.INVALID_VALUE, RejectionCode.TOO_LARGE}
"""Why an event may be rejected that its schema takes: no such day; too deep, too dense; too large."""

USER: Final = "/v1/projects/{projectId}/events/users/{userId}"
LENIENT: Final = ("appUserId", "properties", "context")
"""Members of an event that are kept whatever their type is."""


def _schema() -> Any:
    generation = {"deterministic": True, "max-examples": EXAMPLES_MAX, "with-security-parameters": False}
    fuzzing = {"extra-data-sources": {"responses": False}, "error-feedback": {"enabled": False}}  # nothing of chance
    config = SchemathesisConfig.from_dict({"seed": SEED, "generation": generation, "phases": {"fuzzing": fuzzing}})
    return schemathesis.openapi.from_dict(describe(), config=config)


DESCRIBED: Final = _schema()
COMPONENTS: Final = DESCRIBED.raw_schema["components"]
PATHS: Final = DESCRIBED.raw_schema["paths"]


class World(NamedTuple):
    """A running edge, a key that may do everything, and what calls are made on."""

    service: ServiceProcess
    key: str
    project_id: str
    targets: Mapping[str, str]
    cursors: Mapping[str, str]


class Seeded(NamedTuple):
    """What is in the database."""

    key: str
    project_id: str
    targets: Mapping[str, str]


async def _seed(dsn: str) -> Seeded:
    """Make an organization with an app, a key, and one more key for each call that changes keys."""
    actor = Actor.operator("test")
    own = mint("live")
    secret_hash = hash_secret(own.secret)
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        organization_id = await create_organization(connection, "Acme", "ops@acme.example", actor)
        project_id = await create_project(connection, organization_id, "Shop", actor)
        await create_app(connection, project_id, "Shop", actor, app_id=APP)

        async def add(key: Any) -> Key:
            return await create_key(
                connection, key, secret_hash, organization_id, actor, scopes=SCOPES, tier="partner", name="a key"
            )

        await add(own)
        changing = [each.path + each.method for each in OPERATIONS if "{keyId}" in each.path]
        targets = {call: (await add(mint("test"))).id for call in changing}
        for event_id in ("1", "2"):
            await connection.execute(
                """
                INSERT INTO events (app_id, event_id, ts, project_id, organization_id, name, received_at, user_id,
                    source, event, meta)
                VALUES (%s, %s, now(), %s, %s, 'a', now(), 'u-1', 'sdk', '{}', '{}')
                """,
                (APP, event_id, project_id, organization_id),
            )
    return Seeded(own.text(), project_id, targets)


@pytest.fixture(scope="module")
def world(superuser_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Provide a running edge over the local log and a database of its own."""
    name = f"t{uuid.uuid4().hex[:12]}"
    dsn = create_database(superuser_dsn, name)
    try:
        migrate(dsn)
        seeded = asyncio.run(_seed(dsn))
        env = {
            "INGEST_POSTGRES_DSN": dsn,
            "INGEST_SPOOL_KEY": SealKeys.generate(),
        }
        with ServiceProcess(env, folder=tmp_path_factory.mktemp("edge")) as service:
            headers = {"Authorization": f"Bearer {seeded.key}"}
            real = {"projectId": seeded.project_id, "userId": "u-1"}
            cursors = {
                path: ask(service.url, f"{path.format(**real)}?limit=1", headers=headers).json()["nextCursor"]
                for path in ("/v1/api-keys", "/v1/audit-log", USER)
            }
            erasing = ask(service.url, USER.format(**real), headers=headers, method="DELETE").json()
            targets = {**seeded.targets, **real, "erasureId": erasing["erasureId"]}
            yield World(service, seeded.key, seeded.project_id, targets, cursors)
    finally:
        drop_database(superuser_dsn, name)


@pytest.fixture(scope="module", autouse=True)
def _nothing_but_the_seed() -> Iterator[None]:
    """Keep Hypothesis from drawing constants out of the modules that happen to be loaded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(providers, "_get_local_constants", Constants)
        providers.CONSTANTS_CACHE.cache.clear()
        yield
    providers.CONSTANTS_CACHE.cache.clear()


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    """Provide connections that are kept between calls."""
    with requests.Session() as kept:
        yield kept


@DESCRIBED.parametrize()  # type: ignore[untyped-decorator]
@settings(
    max_examples=EXAMPLES_MAX,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_every_call_is_as_described(case: Any, world: World, session: requests.Session) -> None:
    """No call is answered with what the description does not tell, and none is taken that it does not allow."""
    _lead(case, world)
    takes_events = case.operation.definition.raw["operationId"] == "takeEvents"
    response = case.call_and_validate(
        base_url=world.service.url,
        headers={"Authorization": f"Bearer {world.key}"},
        session=session,
        checks=CHECKS if takes_events else CHECKS + DATA_CHECKS,
    )
    assert response.status_code < 500
    if takes_events and response.request.method == "POST":
        assert_verdicts(response)


def _lead(case: Any, world: World) -> None:
    """Lead a call to what exists where it names what might, and give each of its bodies a key of its own."""
    path, query, headers, body = case.path_parameters, case.query or {}, case.headers or {}, case.body
    for name in ("projectId", "erasureId"):
        if re.fullmatch(PATH_ID, str(path.get(name, ""))):
            path[name] = world.targets[name]
    target = world.targets.get(case.operation.path + case.method)
    if target and re.fullmatch(PATH_ID, str(path.get("keyId", ""))):
        path["keyId"] = target
    cursor = world.cursors.get(case.operation.path)
    if cursor and _is_cursor(str(query.get("cursor", ""))):
        query["cursor"] = cursor
    if isinstance(body, dict):
        for name, real in (("projectId", world.project_id), ("sdkAppId", APP)):
            if body.get(name) and isinstance(body[name], str):
                body[name] = real
    if _is_repeat_key(str(headers.get("Idempotency-Key", ""))):
        headers["Idempotency-Key"] = hashlib.sha256(repr(body).encode(errors="surrogatepass")).hexdigest()


def assert_verdicts(response: Any) -> None:
    """Check that exactly the events are rejected that break their schema, as far as it can tell."""
    answer = json.loads(response.content)
    verdicts = answer["error"].get("details", {}).get("rejected") if "error" in answer else answer["rejected"]
    if verdicts is None:
        return
    sent = json.loads(response.request.body)["events"]
    rejected = {each["index"]: each["code"] for each in verdicts}
    broken = {index for index, each in enumerate(sent) if not _holds(each)}

    assert broken <= rejected.keys()
    assert {code for index, code in rejected.items() if index not in broken} <= BESIDE_THE_SCHEMA


def _holds(event: Any) -> bool:
    """Tell whether an event keeps to what decides over it; to a schema 1.0 is an integer, but no id is written so."""
    schema = COMPONENTS["schemas"]["PartnerEvent"]
    kept = {name: each for name, each in schema["properties"].items() if name not in LENIENT}
    if not jsonschema_rs.validator_for({**schema, "properties": kept}).is_valid(event):
        return False
    return not isinstance(event.get("eventId"), float)


def assert_described(response: Any, path: str, method: str) -> None:
    """Check an answer's body by its schema, and that no header is missing."""
    DESCRIBED[path][method].validate_response(response)
    headers = PATHS[path][method.lower()]["responses"][str(response.status_code)]["headers"]

    assert {name for name, header in headers.items() if header["required"] and name not in response.headers} == set()


KILL: Final = "/v1/api-keys/{keyId}/kill"
NESTED: Final = b"[" * 100_000
ODD_CALLS: Final = [
    ("GET", "/v1/whoami", "?verbose=1", None, 422),
    *(
        ("GET", "/v1/api-keys", f"?{query}", None, 422)
        for query in (
            "limit=007",
            "limit=1.0",
            "limit=%2B1",
            "limit=%D9%A3",
            "limit=" + "9" * 400,
            "limit=1&limit=1",
            "cursor=%FF",
            "cursor=AA",
            "cursor=" + "A" * (CURSOR_CHARACTERS_MAX + 1),
            "&" * 30,
            "q=" + "x" * 5_000,
        )
    ),
    *(
        ("GET", "/v1/audit-log", f"?{query}", None, 422)
        for query in (
            "action=%00",
            "actor=a%0Ab",
            "targetId=%E2%80%AE",
            "since=2026-02-30T00:00:00Z",
            "since=0000-01-01T00:00:00Z",
            "until=yesterday",
            "action=" + "x" * 201,
        )
    ),
    ("GET", "/v1/audit-log", "?since=0001-01-01T00:00:00%2B23:59", None, 200),
    ("GET", "/v1/audit-log", "?until=9999-12-31T23:59:59-23:59", None, 200),
    ("GET", "/v1/audit-log", "?actor=%F0%9F%91%A9%E2%80%8D%F0%9F%9A%80&action=%FF", None, 200),
    *(("POST", KILL.format(keyId=key), "", b"", 404) for key in ("%00", "%FF", "%C3%BC", "a%0A", "a.b", "x" * 65)),
    *(
        ("POST", KILL, "", body, 400)
        for body in (b"{", b"\xff", b'{"reason": "\\ud800"}', b'{"reason": 1e999}', NESTED[:10_000])
    ),
    *(
        ("POST", KILL, "", body, 422)
        for body in (
            b"[]",
            b"null",
            b'{"reason": ""}',
            b'{"reason": "\\u0000"}',
            b'{"reason": %b}' % (b"9" * 4_000),
            json.dumps({"reason": "x" * 501}).encode(),
            b'{"why": "unknown"}',
        )
    ),
    ("POST", KILL, "?dry=1", b"", 422),
    ("GET", USER, "?cursor=" + "A" * 100, None, 422),
    ("GET", USER, "?limit=201", None, 422),
    ("GET", USER, "?userId=a", None, 422),
    ("GET", USER + "/%2F/..%2F/%0A%E2%80%AE%20%3F", "", None, 200),
    ("GET", USER + "%00", "", None, 404),
    ("DELETE", USER + "%FF", "", b"", 404),
    ("DELETE", USER, "", b'{"why": "unknown"}', 422),
    ("DELETE", USER, "", b"{", 400),
    ("DELETE", USER, "?dry=1", None, 422),
    ("GET", "/v1/projects/{projectId}/erasures/era_none", "", None, 404),
    ("GET", "/v1/projects/prj_none/erasures/{erasureId}", "", None, 404),
    ("GET", "/v1/projects/prj_none/events/users/u-1", "", None, 404),
    ("POST", "/v1/events", "", b'{"projectId": "a", "sdkAppId": "b", "events": 1e999}', 422),
    ("POST", "/v1/events", "", b'{"projectId": "a\\u0000", "sdkAppId": "\\ud800", "events": [{}]}', 404),
    ("POST", "/v1/events", "", b'{"events": %b}' % NESTED, 400),
]


def described_path(path: str) -> str:
    """Return under which path a call is described."""
    if path in PATHS:
        return path
    if path.startswith("/v1/projects/"):
        return USER if "/users/" in path else "/v1/projects/{projectId}/erasures/{erasureId}"
    return KILL


@pytest.mark.parametrize(
    ("method", "path", "rest", "body", "status"),
    ODD_CALLS,
    ids=[f"{path[:30]}{rest[:30]} {(body or b'')[:40]!r}" for _, path, rest, body, _ in ODD_CALLS],
)
def test_what_is_odd_is_answered_as_described(
    *, method: str, path: str, rest: str, body: bytes | None, status: int, world: World, session: requests.Session
) -> None:
    """Spellings of numbers, bytes that are no text, and bodies that no library makes get an answer that is told."""
    url = world.service.url + path.format(**{"keyId": world.targets.get(path + method), **world.targets}) + rest
    response = session.request(method, url, data=body, headers={"Authorization": f"Bearer {world.key}"})
    assert response.status_code == status, response.text
    assert_described(response, described_path(path), method)


def test_an_event_may_hold_what_json_may(world: World, session: requests.Session) -> None:
    """Numbers of any size, lone surrogates and zero characters in an event cost neither it nor its neighbours."""
    events = b"""[
        {"name": "a", "occurredAt": "2026-11-24T10:00:00Z", "properties": {"n": %b}},
        {"name": "b\\ud800\\u0000", "occurredAt": "2026-11-24 10:00"},
        {"name": "c", "occurredAt": "2026-11-24T10:00:60.5+01:00", "eventId": 12345678901234567890123},
        {"name": "d", "occurredAt": "2026-02-30T10:00:00Z"},
        {"name": "e", "occurredAt": "2026-11-24T10:00:00Z", "properties": {"n": 1e999}}
    ]""" % (b"9" * 500)
    body = b'{"projectId": "%b", "sdkAppId": "%b", "events": %b}' % (world.project_id.encode(), APP.encode(), events)
    headers = {"Authorization": f"Bearer {world.key}"}
    response = session.post(f"{world.service.url}/v1/events", body, headers=headers)

    assert response.status_code == 202, response.text
    assert_described(response, "/v1/events", "POST")
    assert [(each["index"], each["code"]) for each in response.json()["rejected"]] == [
        (3, "INVALID_TIMESTAMP"),
        (4, "INVALID_VALUE"),
    ]


def test_the_description_is_valid_and_is_what_the_edge_serves(world: World) -> None:
    """It keeps to OpenAPI 3.1, and is found on the operators' port alone."""
    DESCRIBED.validate()
    served = ask(world.service.admin_url, "/openapi.json")

    assert (served.status, served.json()) == (200, describe())
    assert served.headers["content-type"] == "application/json"
    assert ask(world.service.url, "/openapi.json").status == 404
    assert ask(world.service.url, "/v1/openapi.json").status == 404
