"""`Idempotency-Key` over HTTP: the work is done once, repeats are answered without it, nothing sent is kept."""

import contextlib
import json
import re
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ingest.control.kills import turn_app
from ingest.control.organizations import change_app, create_app
from ingest.control.secrets import PartnerKey
from tests.integration.edge import Answer, await_true, figures
from tests.integration.partner import ANNA, Partner, Site, Tenant, await_app, dump_valkey, is_rated, read_log

CALLERS = 50
EVENT = {"name": "signed_up", "occurredAt": "2026-11-24T10:00:00Z", "properties": {"email": "planted@leak.example"}}
NAMED = "planted-idempotency-key-"


@pytest.fixture
def tenant(one_worker: Site) -> Tenant:
    """Provide an organization whose app the edge knows."""
    tenant = one_worker.operators.tenant()
    await_app(one_worker, tenant.app_id)
    return tenant


@pytest.fixture
def admin(one_worker: Site, tenant: Tenant) -> Partner:
    """Provide a key that may do everything."""
    return one_worker.partner(one_worker.operators.key(tenant.organization_id))


@pytest.fixture
def target(one_worker: Site, tenant: Tenant) -> PartnerKey:
    """Provide a key to be turned."""
    return one_worker.operators.key(tenant.organization_id)


def named() -> str:
    """Return an idempotency key that nobody else uses."""
    return NAMED + uuid.uuid4().hex


def post(partner: Partner, path: str, body: bytes = b"", key: str | None = None, method: str = "POST") -> Answer:
    """Make a call, with an idempotency key where there is one."""
    return partner.call(method, path, body, None, **({"Idempotency_Key": key} if key else {}))


def stored(site: Site, tenant: Tenant) -> int:
    """Count what is stored for the tenant's app."""
    return len(read_log(site.folder / "data", site.service.settings["INGEST_SPOOL_KEY"], tenant.app_id))


def is_replayed(answer: Answer) -> bool:
    """Tell whether an answer says that it is a repeat's."""
    return answer.headers.get("idempotency-replayed") == "true"


def at_once(partner: Partner, path: str, body: bytes, method: str = "POST") -> tuple[Answer, list[Answer]]:
    """Make one call many times at once under one key; returns the answer of the one that worked, and of all repeats.

    Exactly one works; whoever came while it did is told so, and when to come again.
    """
    key = named()
    with ThreadPoolExecutor(CALLERS) as callers:
        answers = list(callers.map(lambda _: post(partner, path, body, key, method), range(CALLERS)))
    busy = [answer for answer in answers if answer.status == 409]
    done = [answer for answer in answers if answer.status != 409]
    first = [answer for answer in done if not is_replayed(answer)]

    assert len(first) == 1
    assert {answer.code for answer in busy} <= {"IDEMPOTENCY_IN_PROGRESS"}
    assert all(1 <= int(answer.headers["retry-after"]) <= 3 for answer in busy)
    assert {answer.status for answer in done} == {first[0].status}
    assert all(is_rated(answer, "write") for answer in answers)
    return first[0], [answer for answer in done if is_replayed(answer)] + [post(partner, path, body, key, method)]


def test_events_of_fifty_callers_are_stored_once(one_worker: Site, tenant: Tenant, admin: Partner) -> None:
    """Events without ids too: one batch is stored, and each repeat is told the same of it."""
    events = [{**EVENT, "number": number} for number in range(3)]
    first, repeats = at_once(admin, "/v1/events", tenant.batch(*events, {"name": "x"}))
    told = {key: value for key, value in first.json().items() if key != "requestId"}

    assert stored(one_worker, tenant) == 3
    assert (first.status, told["accepted"], len(told["rejected"])) == (202, 3, 1)
    assert is_replayed(repeats[-1])
    for repeat in repeats:
        assert {key: value for key, value in repeat.json().items() if key != "requestId"} == told
        assert repeat.json()["requestId"] == repeat.headers["x-request-id"] != first.json()["requestId"]


def test_fifty_kills_are_one(one_worker: Site, admin: Partner, target: PartnerKey) -> None:
    """One audit event, one message to each of two, and every repeat sees the killed key."""
    first, repeats = at_once(admin, f"/v1/api-keys/{target.key_id}/kill", b'{"reason": "leaked"}')
    ((messages,),) = one_worker.operators.run("SELECT count(*) FROM outbox WHERE payload->>'id' = %s", target.key_id)

    assert one_worker.operators.actions(target.key_id) == ["key.created", "key.killed"]
    assert messages == 2
    assert first.json()["apiKey"]["killSwitch"] is True
    assert all(is_replayed(repeat) and repeat.body == first.body for repeat in repeats)


def test_fifty_rotations_are_one(one_worker: Site, admin: Partner, target: PartnerKey) -> None:
    """The hash changes once; one caller alone is shown the new key, which works, and repeats show `null`."""
    before = one_worker.operators.hash_of(target.key_id)
    first, repeats = at_once(admin, f"/v1/api-keys/{target.key_id}/rotate", b"")
    after = one_worker.operators.hash_of(target.key_id)
    secret = first.json()["secret"]

    assert before != after
    assert one_worker.operators.actions(target.key_id) == ["key.created", "key.rotated"]
    assert one_worker.partner(secret).whoami().status == 200
    for repeat in repeats:
        assert (repeat.status, is_replayed(repeat)) == (200, True)
        assert repeat.json() == {"apiKey": first.json()["apiKey"], "secret": None}
        assert secret.partition(".")[2].encode() not in repeat.body
    assert one_worker.operators.hash_of(target.key_id) == after


def test_fifty_retirements_are_one(one_worker: Site, admin: Partner, target: PartnerKey) -> None:
    """One audit event, and the time of the first stays."""
    first, repeats = at_once(admin, f"/v1/api-keys/{target.key_id}", b"", "DELETE")

    assert one_worker.operators.actions(target.key_id) == ["key.created", "key.revoked"]
    assert first.json()["apiKey"]["active"] is False
    assert all(repeat.body == first.body for repeat in repeats)


def test_another_body_is_a_conflict(one_worker: Site, tenant: Tenant, admin: Partner, target: PartnerKey) -> None:
    """A key belongs to its body; under another call, another path or another partner's key it is another one."""
    key, other = named(), one_worker.partner(one_worker.operators.key(tenant.organization_id))
    first = post(admin, "/v1/events", tenant.batch(EVENT), key)
    conflict = post(admin, "/v1/events", tenant.batch(EVENT, EVENT), key)
    again = post(admin, "/v1/events", tenant.batch(EVENT), key)
    elsewhere = [
        post(other, "/v1/events", tenant.batch(EVENT), key),
        post(admin, f"/v1/api-keys/{target.key_id}/kill", b"", key),
        post(admin, f"/v1/api-keys/{target.key_id}/rotate", b"", key),
    ]

    assert (first.status, conflict.status, conflict.code) == (202, 409, "IDEMPOTENCY_CONFLICT")
    assert not is_replayed(conflict)
    assert is_replayed(again)
    assert [(answer.status, is_replayed(answer)) for answer in elsewhere] == [(202, False), (200, False), (200, False)]
    assert stored(one_worker, tenant) == 2


def test_a_refusal_stays_bound_to_its_key(tenant: Tenant, admin: Partner) -> None:
    """What cannot succeed is refused again the same way, and the key does not serve for a corrected body."""
    key = named()
    wrong = json.dumps({"projectId": tenant.project_id, "events": []}).encode()
    first, again = (post(admin, "/v1/events", wrong, key) for _ in range(2))
    corrected = post(admin, "/v1/events", tenant.batch(EVENT), key)

    assert [(each.status, each.code) for each in (first, again)] == [(422, "VALIDATION")] * 2
    assert first.json()["error"]["details"] == again.json()["error"]["details"]
    assert [is_replayed(each) for each in (first, again)] == [False, True]
    assert (corrected.status, corrected.code) == (409, "IDEMPOTENCY_CONFLICT")


def test_a_refusal_that_would_not_be_one_any_more(one_worker: Site, tenant: Tenant, admin: Partner) -> None:
    """A refusal that need not last binds no key: once the app is there, the same call stores its batch, once."""
    key, app_id = named(), f"app_{uuid.uuid4().hex}"
    body = tenant._replace(app_id=app_id).batch(EVENT)
    first, again = (post(admin, "/v1/events", body, key) for _ in range(2))
    one_worker.operators.do(lambda connection: create_app(connection, tenant.project_id, "New", ANNA, app_id=app_id))
    await_app(one_worker, app_id)
    late, later = (post(admin, "/v1/events", body, key) for _ in range(2))

    assert [(each.status, is_replayed(each)) for each in (first, again)] == [(404, False)] * 2
    assert [(each.status, is_replayed(each)) for each in (late, later)] == [(202, False), (202, True)]


def test_the_rotation_of_a_revoked_key_is_refused_alike(admin: Partner, target: PartnerKey) -> None:
    """The repeat of a refused rotation tells the same reason; that of an earlier rotation still tells of it."""
    early, late = named(), named()
    path = f"/v1/api-keys/{target.key_id}"
    rotated = post(admin, f"{path}/rotate", b"", early)
    post(admin, path, method="DELETE")
    refused = [post(admin, f"{path}/rotate", b"", late) for _ in range(2)]
    repeated = post(admin, f"{path}/rotate", b"", early)

    assert rotated.status == 200
    assert [(each.status, each.code, is_replayed(each)) for each in refused] == [(409, "CONFLICT", False)] * 2
    assert len({each.json()["error"]["message"] for each in refused}) == 1
    assert (repeated.status, is_replayed(repeated), repeated.json()["secret"]) == (200, True, None)
    assert repeated.json()["apiKey"]["active"] is False


@contextlib.contextmanager
def without_audit(site: Site) -> Iterator[None]:
    """Take away the table without which nothing may be changed: what needs it ends in a bug."""
    site.operators.run("ALTER TABLE audit_events RENAME TO audit_events_away")
    try:
        yield
    finally:
        site.operators.run("ALTER TABLE audit_events_away RENAME TO audit_events")


def test_a_bug_frees_the_key(one_worker: Site, admin: Partner, target: PartnerKey) -> None:
    """A 500 has done nothing, says where the key stands, and the same key does the work afterwards."""
    keys, path = [named() for _ in range(3)], f"/v1/api-keys/{target.key_id}"
    calls = [("POST", f"{path}/kill"), ("POST", f"{path}/rotate"), ("DELETE", path)]
    before = one_worker.operators.hash_of(target.key_id)
    with without_audit(one_worker):
        failed = [post(admin, end, b"", key, method) for (method, end), key in zip(calls, keys, strict=True)]
        listed = admin.call("GET", "/v1/audit-log")
    between = one_worker.operators.run(
        "SELECT is_active, kill_switch, secret_hash = %s FROM api_keys WHERE id = %s", before, target.key_id
    )
    done = [post(admin, end, b"", key, method) for (method, end), key in zip(calls, keys, strict=True)]

    assert {(answer.status, answer.code) for answer in (*failed, listed)} == {(500, "INTERNAL")}
    assert all(is_rated(answer, "write") for answer in failed)
    assert is_rated(listed, "read")
    assert between == [(True, False, True)]
    assert [(answer.status, is_replayed(answer)) for answer in done] == [(200, False)] * 3


def test_a_kill_frees_the_key(one_worker: Site, tenant: Tenant, admin: Partner) -> None:
    """A batch that is refused while its app is switched off is stored later, under the same key."""

    def turn(*, killed: bool) -> None:
        one_worker.operators.do(
            lambda connection: turn_app(connection, tenant.app_id, ANNA, killed=killed, reason="a test")
        )

    key, body = named(), tenant.batch(EVENT)
    turn(killed=True)
    await_true(lambda: post(admin, "/v1/events", body).status == 503, "it is in force")
    before = stored(one_worker, tenant)
    killed = post(admin, "/v1/events", body, key)
    turn(killed=False)
    await_true(lambda: post(admin, "/v1/events", body, key).status == 202, "it is lifted")

    assert (killed.status, killed.code) == (503, "KILL_SWITCH")
    assert stored(one_worker, tenant) == before + 1


def test_an_event_rate_frees_the_key(one_worker: Site) -> None:
    """A batch that came too soon is stored later, under the same key."""
    tenant = one_worker.operators.tenant(events_per_minute_max=1)
    await_app(one_worker, tenant.app_id)
    partner = one_worker.partner(one_worker.operators.key(tenant.organization_id))
    key, body = named(), tenant.batch(EVENT)
    full = post(partner, "/v1/events", tenant.batch(*[EVENT | {"eventId": str(number)} for number in range(100)]))
    soon = post(partner, "/v1/events", body, key)
    one_worker.operators.do(
        lambda connection: change_app(connection, tenant.app_id, ANNA, environment=None, options={})
    )
    await_true(lambda: post(partner, "/v1/events", body, key).status == 202, "the rate is lifted")

    assert (full.status, soon.status, soon.code) == (202, 429, "RATE_LIMITED")
    assert stored(one_worker, tenant) == 101


@pytest.mark.parametrize("key", ["", " ", "a b", "ä", "a" * 256])
def test_what_cannot_be_an_idempotency_key(tenant: Tenant, admin: Partner, key: str) -> None:
    """A header that cannot be a key is refused, without repeating it, and nothing is stored."""
    answer = admin.call("POST", "/v1/events", tenant.batch(EVENT), None, Idempotency_Key=key)

    assert (answer.status, answer.code) == (422, "VALIDATION")
    ((fault),) = answer.json()["error"]["details"]["errors"]
    assert fault["path"] == "Idempotency-Key"


def test_reads_look_at_no_key(admin: Partner) -> None:
    """A GET does nothing that could be done twice."""
    answers = [admin.call("GET", "/v1/api-keys", None, None, Idempotency_Key="same") for _ in range(2)]

    assert [(answer.status, is_replayed(answer)) for answer in answers] == [(200, False)] * 2


def test_with_the_cache_away(one_worker: Site, tenant: Tenant, admin: Partner) -> None:
    """Events are stored all the same; changes of keys are refused with the header and done without it."""
    operators = one_worker.operators
    keys = [operators.key(tenant.organization_id) for _ in range(2)]
    calls = [("POST", "/kill"), ("POST", "/rotate"), ("DELETE", "")]
    one_worker.valkey.pause()
    try:
        await_true(
            lambda: not admin.whoami() or figures(one_worker.service)["ingest_counters_local"] == 1, "it is missed"
        )
        events = post(admin, "/v1/events", tenant.batch(EVENT), named())
        with_header = [
            post(admin, f"/v1/api-keys/{keys[0].key_id}{end}", b"", named(), method) for method, end in calls
        ]
        without = [post(admin, f"/v1/api-keys/{keys[1].key_id}{end}", b"", None, method) for method, end in calls]
        rated = admin.whoami()
    finally:
        one_worker.valkey.resume()
    await_true(lambda: admin.whoami() and figures(one_worker.service)["ingest_counters_local"] == 0, "it is back")

    assert events.status == 202
    assert [(answer.status, answer.code) for answer in with_header] == [(503, "UNAVAILABLE")] * 3
    assert all(3 <= int(answer.headers["retry-after"]) <= 7 for answer in with_header)
    assert all(is_rated(answer, "write") for answer in (events, *with_header, *without))
    assert is_rated(rated, "read")
    assert operators.actions(keys[0].key_id) == ["key.created"]
    assert [answer.status for answer in without] == [200, 200, 200]
    assert operators.actions(keys[1].key_id) == ["key.created", "key.killed", "key.rotated", "key.revoked"]
    assert stored(one_worker, tenant) == 1


ENTRY = re.compile(
    r'\{"body_sha256":"[0-9a-f]{64}","state":"(running|done)","status":[0-9]{1,3},"stored":(null|"replicated"|"spooled")\}'
)
NAMES = (
    (re.compile(r"ingest:idempotency:[0-9a-f]{64}"), ENTRY),
    (re.compile(r"ingest:calls.*[0-9A-HJKMNP-TV-Z]{26}.*(read|write).*"), re.compile("[0-9]+")),
    (re.compile(r"ingest:events:app_[0-9A-Za-z]+:[0-9]+"), re.compile("[0-9]+")),
    (re.compile(r"ingest:epoch"), re.compile(".{16}", re.DOTALL)),
)


def test_the_cache_holds_counters_digests_and_states_only(one_worker: Site, admin: Partner) -> None:
    """After calls of every kind each name and each value has one of four forms, and nothing that was sent is there."""
    tenant = one_worker.operators.tenant(events_per_minute_max=600_000)
    await_app(one_worker, tenant.app_id)
    key = one_worker.operators.key(tenant.organization_id)
    partner = one_worker.partner(key)
    rotated = post(partner, f"/v1/api-keys/{key.key_id}/rotate", b"", named()).json()["secret"]
    partner = one_worker.partner(rotated)
    for body in (tenant.batch(EVENT), b"{", tenant.batch({"name": "planted@leak.example"})):
        post(partner, "/v1/events", body, named())
    post(partner, f"/v1/api-keys/{key.key_id}/kill", b'{"reason": "planted-reason"}', named())
    kept: dict[str, Any] = {}

    def holds_the_app() -> bool:
        kept.update(dump_valkey(one_worker.valkey.url))
        return any(name.startswith(f"ingest:events:{tenant.app_id}") for name in kept)

    await_true(holds_the_app, "the app's events are counted")
    whole = "\n".join(f"{name} {value}" for name, value in kept.items())

    assert [
        (name, value)
        for name, value in kept.items()
        if not any(form.fullmatch(name) and held.fullmatch(value) for form, held in NAMES)
    ] == []
    assert '"status":202' in whole
    planted = (key.secret, rotated.partition(".")[2], "leak", "planted", "lp_live", "signed_up", "$2b$")
    assert [each for each in planted if each in whole] == []
    assert admin.whoami().status == 200
