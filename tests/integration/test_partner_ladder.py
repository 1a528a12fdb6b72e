"""The ladder over HTTP: what operators and partners change counts from the very next request on, on every worker."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import redis

from ingest.control.kills import turn_app, turn_global, turn_organization
from ingest.control.secrets import PartnerKey
from tests.integration.edge import Answer, await_true, batch, event, new_id
from tests.integration.partner import (
    ANNA,
    WHY,
    Line,
    Partner,
    Site,
    Tenant,
    await_app,
    is_rated,
    serving_processes,
    worker_lines,
)

Lines = dict[int, Line]

IN_FORCE_S = 2.0
"""A change reaches the surface of SDKs within this time, as the documentation promises."""


@pytest.fixture(scope="module")
def tenant(two_workers: Site) -> Tenant:
    """Provide an organization."""
    return two_workers.operators.tenant()


@pytest.fixture(scope="module")
def admin(two_workers: Site, tenant: Tenant) -> Partner:
    """Provide a key that nobody turns."""
    return two_workers.partner(two_workers.operators.key(tenant.organization_id))


@pytest.fixture
def lines(two_workers: Site) -> Iterator[Lines]:
    """Provide a connection to each worker."""
    opened = worker_lines(two_workers.service)
    yield opened

    for line in opened.values():
        line.close()


def everywhere(partner: Partner, lines: Lines) -> list[Answer]:
    """Ask each worker who calls, once."""
    return [partner.whoami(line) for line in lines.values()]


def test_both_workers_are_reached(two_workers: Site, lines: Lines, tenant: Tenant) -> None:
    """The connections belong to two processes, the workers of the service, and each answers `whoami` alike."""
    key = two_workers.operators.key(tenant.organization_id, ("events:write", "audit:read"), tier="pilot")
    answers = everywhere(two_workers.partner(key), lines)

    assert len(lines) == 2
    assert set(lines) == {process.pid for process in serving_processes(two_workers.service)}
    for answer in answers:
        assert answer.status == 200
        assert answer.json() == {
            "organization": {"id": tenant.organization_id, "name": "Acme"},
            "keyId": key.key_id,
            "env": "live",
            "scopes": ["audit:read", "events:write"],
            "tier": "pilot",
        }
        assert is_rated(answer, "read", "pilot")


class Change(NamedTuple):
    """Something that ends a key's calls: how it is made, what is answered then, and how it is taken back, if it is."""

    make: Callable[[Site, PartnerKey, str, Partner], Any]
    status: int
    code: str
    scope: str | None = None
    undo: Callable[[Site, PartnerKey, str], Any] | None = None


def _ran(*words: str) -> Callable[..., Any]:
    """Return the run of an operators' command, in which KEY and ORG stand for ids."""

    def run(site: Site, key: PartnerKey, organization_id: str, *_: Partner) -> None:
        ids = {"KEY": key.key_id, "ORG": organization_id}
        site.operators.command(*(ids.get(word, word) for word in words), *WHY)

    return run


CHANGES = {
    "an operator kills the key": Change(
        _ran("kill", "on", "key", "KEY"), 503, "KILL_SWITCH", "key", _ran("kill", "off", "key", "KEY")
    ),
    "another key kills it": Change(
        lambda _, key, __, admin: admin.call("POST", f"/v1/api-keys/{key.key_id}/kill"),
        503,
        "KILL_SWITCH",
        "key",
        _ran("kill", "off", "key", "KEY"),
    ),
    "it kills itself": Change(
        lambda site, key, *_: site.partner(key).call("POST", f"/v1/api-keys/{key.key_id}/kill"),
        503,
        "KILL_SWITCH",
        "key",
        _ran("kill", "off", "key", "KEY"),
    ),
    "an operator revokes it": Change(_ran("keys", "revoke", "KEY"), 401, "REVOKED"),
    "another key retires it": Change(
        lambda _, key, __, admin: admin.call("DELETE", f"/v1/api-keys/{key.key_id}"), 401, "REVOKED"
    ),
    "is_active alone": Change(
        lambda site, key, *_: site.operators.run("UPDATE api_keys SET is_active = false WHERE id = %s", key.key_id),
        401,
        "REVOKED",
    ),
    "revoked_at alone": Change(
        lambda site, key, *_: site.operators.run("UPDATE api_keys SET revoked_at = now() WHERE id = %s", key.key_id),
        401,
        "REVOKED",
    ),
    "an operator kills the organization": Change(
        _ran("kill", "on", "organization", "ORG"),
        503,
        "KILL_SWITCH",
        "organization",
        _ran("kill", "off", "organization", "ORG"),
    ),
    "an operator kills everybody": Change(
        _ran("kill", "on", "global"), 503, "KILL_SWITCH", "global", _ran("kill", "off", "global")
    ),
    "an operator rotates it": Change(
        lambda site, key, *_: site.operators.command("keys", "rotate", key.key_id, "--actor", "anna"),
        401,
        "UNAUTHENTICATED",
    ),
    "another key rotates it": Change(
        lambda _, key, __, admin: admin.call("POST", f"/v1/api-keys/{key.key_id}/rotate"), 401, "UNAUTHENTICATED"
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_counts_from_the_next_request(
    two_workers: Site, lines: Lines, tenant: Tenant, admin: Partner, name: str
) -> None:
    """A key that both workers remember fails on the next request to each; what can be taken back counts as fast."""
    change = CHANGES[name]
    key = two_workers.operators.key(tenant.organization_id)
    partner = two_workers.partner(key)
    assert [answer.status for answer in everywhere(partner, lines)] == [200, 200]
    change.make(two_workers, key, tenant.organization_id, admin)
    try:
        refused = everywhere(partner, lines)
        fresh = partner.whoami()
    finally:
        if change.undo is not None:
            change.undo(two_workers, key, tenant.organization_id)
    after = everywhere(partner, lines)

    for answer in (*refused, fresh):
        assert (answer.status, answer.code) == (change.status, change.code)
        error = answer.json()["error"]
        assert error.get("details") == ({"scope": change.scope} if change.scope else None)
        assert error["requestId"] == answer.headers["x-request-id"]
        assert is_rated(answer, "read") == (change.code != "UNAUTHENTICATED")
        assert ("www-authenticate" in answer.headers) == (change.status == 401)
        waits = answer.headers.get("retry-after")
        assert waits is None if change.status == 401 else 30 <= int(waits or 0) <= 90
    assert [answer.status for answer in after] == ([200, 200] if change.undo else [change.status] * 2)


def test_the_rotated_key_works_at_once_on_both(two_workers: Site, lines: Lines, tenant: Tenant, admin: Partner) -> None:
    """The new secret passes everywhere on its first call, under the same id."""
    key = two_workers.operators.key(tenant.organization_id, ("events:read",))
    rotated = admin.call("POST", f"/v1/api-keys/{key.key_id}/rotate")
    secret = rotated.json()["secret"]

    assert (rotated.status, secret.partition(".")[0]) == (200, f"lp_live_{key.key_id}")
    assert [each.json().get("keyId") for each in everywhere(two_workers.partner(secret), lines)] == [key.key_id] * 2


WRONG = {
    "no header": None,
    "empty": "",
    "another scheme": "Basic {key}",
    "no scheme": "{key}",
    "no secret": "Bearer {head}.",
    "a wrong secret": "Bearer {head}." + "A" * 43,
    "a secret too long": "Bearer {key}A",
    "another environment": "Bearer {other}",
    "an unknown id": "Bearer lp_live_01HXZ9G7KMV2QX8Y1S5RJW3B7T." + "A" * 43,
    "twice in one": "Bearer {key}, Bearer {key}",
    "very long": "Bearer " + "A" * 5_000,
}


@pytest.mark.parametrize("name", WRONG)
def test_who_is_not_known_is_told_nothing(lines: Lines, admin: Partner, name: str) -> None:
    """Whatever is wrong with a key, the answer is the same, and tells nothing of limits."""
    head = admin.key.partition(".")[0]
    shown = WRONG[name]
    parts = {"key": admin.key, "head": head, "other": admin.key.replace("lp_live_", "lp_test_")}
    headers = {} if shown is None else {"Authorization": shown.format(**parts)}
    answers = [line.send("GET", "/v1/whoami", None, headers) for line in lines.values()]
    bodies = [{**answer.json()["error"], "requestId": ""} for answer in answers]

    assert [(answer.status, answer.code) for answer in answers] == [(401, "UNAUTHENTICATED")] * 2
    assert (
        bodies
        == [{"code": "UNAUTHENTICATED", "message": "The app id or key is missing, unknown or wrong.", "requestId": ""}]
        * 2
    )
    assert not any(name.startswith("x-ratelimit") for answer in answers for name in answer.headers)


CALLS = {
    ("GET", "/v1/api-keys"): "keys:read",
    ("GET", "/v1/audit-log"): "audit:read",
    ("POST", "/v1/events"): "events:write",
    ("POST", "/v1/api-keys/{id}/kill"): "keys:write",
    ("POST", "/v1/api-keys/{id}/rotate"): "keys:write",
    ("DELETE", "/v1/api-keys/{id}"): "keys:write",
    ("GET", "/v1/projects/{id}/events/users/u-1"): "events:read",
    ("DELETE", "/v1/projects/{id}/events/users/u-1"): "events:erase",
    ("GET", "/v1/projects/{id}/erasures/era_1"): "events:erase",
}


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_a_scope_that_is_missing(two_workers: Site, lines: Lines, tenant: Tenant, call: tuple[str, str]) -> None:
    """Each call needs its scope and no other; a scope that is added counts from the next request on."""
    operators, (method, path) = two_workers.operators, call
    others = sorted({*CALLS.values(), "events:read", "events:erase"} - {CALLS[call]})
    partner = two_workers.partner(key := operators.key(tenant.organization_id, others))
    path = path.format(id=key.key_id)
    answers = [partner.call(method, path, b"" if method != "GET" else None, line) for line in lines.values()]
    row = operators.run("SELECT is_active, kill_switch FROM api_keys WHERE id = %s", key.key_id)
    operators.run("UPDATE api_keys SET scopes = scopes || %s WHERE id = %s", [CALLS[call]], key.key_id)
    after = partner.call(method, path, b"" if method != "GET" else None, next(iter(lines.values())))

    for answer in answers:
        assert (answer.status, answer.code) == (403, "FORBIDDEN_SCOPE")
        assert answer.json()["error"]["details"] == {"requiredScope": CALLS[call]}
        assert is_rated(answer, "read" if method == "GET" else "write")
    assert row == [(True, False)]
    assert after.status == (400 if path == "/v1/events" else 404 if "/projects/" in path else 200)


def test_the_minute_is_shared_and_used_up(two_workers: Site, lines: Lines, tenant: Tenant) -> None:
    """Both workers count one minute: 120 reads pass, more are 429 with jittered waits, and writes are another class."""
    key = two_workers.operators.key(tenant.organization_id, tier="standard")
    partner = two_workers.partner(key)
    turns = itertools.cycle(lines.values())
    first = partner.whoami(next(turns))
    _never_ends(two_workers, key.key_id)
    passed = [first, *(partner.whoami(next(turns)) for _ in range(119))]
    refused = [partner.whoami(next(turns)) for _ in range(40)]
    write = partner.call("POST", f"/v1/api-keys/{key.key_id}/kill", b'{"a": 1}', next(turns))

    assert {answer.status for answer in passed} == {200}
    assert [int(answer.headers["x-ratelimit-remaining"]) for answer in passed] == list(range(119, -1, -1))
    assert {(answer.status, answer.code) for answer in refused} == {(429, "RATE_LIMITED")}
    for answer in refused:
        assert answer.json()["error"]["details"] == {"limit": 120, "endpointClass": "read"}
        assert answer.headers["x-ratelimit-remaining"] == "0"
        least = int(answer.headers["x-ratelimit-reset"])
        assert least <= int(answer.headers["retry-after"]) <= max(least + 1, least * 3 // 2)
    assert len({answer.headers["retry-after"] for answer in refused}) > 1
    assert (write.status, write.headers["x-ratelimit-limit"], write.headers["x-ratelimit-remaining"]) == (
        422,
        "60",
        "59",
    )


def _never_ends(site: Site, key_id: str) -> None:
    """Make the minute of a key last for `LASTING_S`, however slow the machine is."""
    with redis.Redis.from_url(site.valkey.url) as client:
        counters = [name for name in client.scan_iter(count=1_000) if key_id.encode() in name]
        assert counters
        for name in counters:
            client.expire(name, LASTING_S)


LASTING_S = 600


class AppChange(NamedTuple):
    """Something that ends what an app's SDKs send, and what they are answered then."""

    turn: Callable[..., Any]
    code: str
    scope: str | None


APP_CHANGES = {
    "its own kill": AppChange(
        lambda site, tenant, *, on: site.operators.do(
            lambda connection: turn_app(connection, tenant.app_id, ANNA, killed=on, reason="a test")
        ),
        "KILL_SWITCH",
        "key",
    ),
    "its organization's kill": AppChange(
        lambda site, tenant, *, on: site.operators.do(
            lambda connection: turn_organization(connection, tenant.organization_id, ANNA, killed=on, reason="a test")
        ),
        "KILL_SWITCH",
        "organization",
    ),
    "the kill of all": AppChange(
        lambda site, _, *, on: site.operators.do(
            lambda connection: turn_global(connection, ANNA, killed=on, reason="a test")
        ),
        "KILL_SWITCH",
        "global",
    ),
    "is_active alone": AppChange(
        lambda site, tenant, *, on: site.operators.run(
            "UPDATE apps SET is_active = %s WHERE id = %s", not on, tenant.app_id
        ),
        "REVOKED",
        None,
    ),
    "revoked_at alone": AppChange(
        lambda site, tenant, *, on: site.operators.run(
            "UPDATE apps SET revoked_at = CASE WHEN %s THEN now() END WHERE id = %s", on, tenant.app_id
        ),
        "REVOKED",
        None,
    ),
}


@pytest.mark.parametrize("name", APP_CHANGES)
def test_what_sdks_are_told_within_two_seconds(two_workers: Site, lines: Lines, name: str) -> None:
    """An app is a key of its SDKs: each worker refuses it soon, and takes it again soon after."""
    change, tenant = APP_CHANGES[name], two_workers.operators.tenant()
    await_app(two_workers, tenant.app_id)

    def answers() -> list[Answer]:
        headers = {"X-App-Id": tenant.app_id}
        return [line.send("POST", "/events", batch(event(new_id())), headers) for line in lines.values()]

    assert [answer.status for answer in answers()] == [202, 202]
    change.turn(two_workers, tenant, on=True)
    try:
        await_true(lambda: {answer.code for answer in answers()} == {change.code}, "it is refused", IN_FORCE_S)
        refused = answers()
    finally:
        change.turn(two_workers, tenant, on=False)
    await_true(lambda: {answer.status for answer in answers()} == {202}, "it is taken again", IN_FORCE_S)

    for answer in refused:
        assert answer.json()["error"].get("details") == ({"scope": change.scope} if change.scope else None)
        assert answer.status == (503 if change.scope else 401)
        assert ("retry-after" in answer.headers) == (answer.status == 503)


class Flags(NamedTuple):
    """One place in the space of everything that a ladder looks at."""

    secret_wrong: bool
    key_killed: bool
    inactive: bool
    revoked_at: bool
    organization_killed: bool
    global_killed: bool
    scope_missing: bool
    used_up: bool


def expected(flags: Flags) -> tuple[int, str, str | None]:
    """Return status, code and scope as the contract says, first rung first."""
    ladder = (
        (flags.secret_wrong, (401, "UNAUTHENTICATED", None)),
        (flags.key_killed, (503, "KILL_SWITCH", "key")),
        (flags.inactive or flags.revoked_at, (401, "REVOKED", None)),
        (flags.organization_killed, (503, "KILL_SWITCH", "organization")),
        (flags.global_killed, (503, "KILL_SWITCH", "global")),
        (flags.scope_missing, (403, "FORBIDDEN_SCOPE", None)),
        (flags.used_up, (429, "RATE_LIMITED", None)),
    )
    return next((answer for holds, answer in ladder if holds), (200, "", None))


def test_the_order_holds_for_every_combination(two_workers: Site, lines: Lines) -> None:
    """Of all that may stand against a call the first rung answers, whatever else is the case, on both workers."""
    operators, tenant = two_workers.operators, two_workers.operators.tenant()
    keys = {used_up: operators.key(tenant.organization_id, tier="standard") for used_up in (False, True)}
    turns = itertools.cycle(lines.values())
    for _ in range(120):
        assert two_workers.partner(keys[True]).call("GET", "/v1/api-keys", line=next(turns)).status == 200
    assert two_workers.partner(keys[False]).whoami(next(turns)).status == 200
    _never_ends(two_workers, keys[True].key_id)
    wrong = []
    with operators.connect() as connection:
        connection.autocommit = True
        for flags in itertools.starmap(Flags, itertools.product((False, True), repeat=len(Flags._fields))):
            key = keys[flags.used_up]
            _set(connection, key.key_id, tenant.organization_id, flags)
            secret = f"{key.text()[:-1]}{'A' if key.text()[-1] != 'A' else 'Q'}" if flags.secret_wrong else key.text()
            answer = two_workers.partner(secret).call("GET", "/v1/api-keys", line=next(turns))
            details = answer.json().get("error", {}).get("details", {})
            told = answer.status, answer.code, details.get("scope")
            is_told = is_rated(answer, "read", "standard", seconds_max=LASTING_S)
            if told != expected(flags) or is_told == flags.secret_wrong:
                wrong.append((flags, told))
        _set(connection, keys[True].key_id, tenant.organization_id, Flags(*[False] * len(Flags._fields)))

    assert wrong == []


def _set(connection: Any, key_id: str, organization_id: str, flags: Flags) -> None:
    """Put a combination into the database."""
    connection.execute(
        """
        UPDATE api_keys SET kill_switch = %s, is_active = %s, revoked_at = CASE WHEN %s THEN now() END, scopes = %s
        WHERE id = %s
        """,
        (
            flags.key_killed,
            not flags.inactive,
            flags.revoked_at,
            ["keys:write", "audit:read"] if flags.scope_missing else ["keys:read"],
            key_id,
        ),
    )
    connection.execute("DELETE FROM kill_switches")
    for holds, scope, target in (
        (flags.organization_killed, "organization", organization_id),
        (flags.global_killed, "global", None),
    ):
        if holds:
            connection.execute("INSERT INTO kill_switches VALUES (%s, %s, 'a test', 'anna')", (scope, target))
