"""`POST /v1/events` on the real way: from the call to the stored record, and everything that is refused."""

import gzip
import json
import socket
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import brotli
import pytest
import zstandard

from ingest.control.kills import turn_app
from ingest.control.secrets import PartnerKey
from normalize import email_digest
from tests.integration.edge import Answer, await_true, figures
from tests.integration.partner import ANNA, Partner, Site, Tenant, await_app, is_rated, read_log

TIME = "2026-11-24T10:00:00Z"
EVENT: Mapping[str, Any] = {"name": "purchase_success", "occurredAt": TIME}


@pytest.fixture(scope="module")
def tenant(one_worker: Site) -> Tenant:
    """Provide an organization."""
    return known(one_worker)


@pytest.fixture(scope="module")
def key(one_worker: Site, tenant: Tenant) -> PartnerKey:
    """Provide its key."""
    return one_worker.operators.key(tenant.organization_id, ("events:write",))


@pytest.fixture(scope="module")
def partner(one_worker: Site, key: PartnerKey) -> Partner:
    """Provide its backend."""
    return one_worker.partner(key)


def known(site: Site, **options: Any) -> Tenant:
    """Add an organization whose app the edge knows."""
    tenant = site.operators.tenant(**options)
    await_app(site, tenant.app_id)
    return tenant


def records(site: Site, tenant: Tenant) -> list[dict[str, Any]]:
    """Return what is stored of the tenant's events."""
    return read_log(site.folder / "data", site.service.settings["INGEST_SPOOL_KEY"], tenant.app_id)


def send(partner: Partner, body: bytes, **headers: str) -> Answer:
    """Send a batch."""
    return partner.call("POST", "/v1/events", body, None, **headers)


def test_an_event_is_stored_as_the_documentation_says(one_worker: Site) -> None:
    """Names become those of SDKs, identifiers digests; the record says where it comes from and nothing of a server."""
    tenant = known(one_worker)
    partner = one_worker.partner(one_worker.operators.key(tenant.organization_id, ("events:write",)))
    event = {
        **EVENT,
        "eventId": "order-4711",
        "appUserId": "u-1",
        "more": 1,
        "properties": {"revenue": 9.99, "currency": "EUR", "email": "A@Example.com"},
        "context": {"page": "by a@example.com"},
    }
    answer = send(partner, tenant.batch(event, batch_id="b-1"), User_Agent="Mozilla/5.0 (X11; Linux) Chrome/126.0")
    (record,) = records(one_worker, tenant)
    meta, stored = record["meta"], record["event"]
    counts = {"accepted": 1, "duplicates": 0, "rejected": []}

    assert answer.status == 202
    assert answer.json() == {"requestId": answer.headers["x-request-id"], "stored": "spooled", **counts}
    assert is_rated(answer, "write")
    assert meta["source"] == "partner"
    assert (meta["app_id"], meta["project_id"], meta["organization_id"]) == (
        tenant.app_id,
        tenant.project_id,
        tenant.organization_id,
    )
    assert (meta["event_id"], meta["request_id"], meta["batch_id"]) == (
        "order-4711",
        answer.headers["x-request-id"],
        "b-1",
    )
    assert not {"os", "client", "sdk", "country_code", "subdivision1_code", "environment"} & meta.keys()
    assert stored["event"] == "purchase_success"
    assert (stored["timestamp"], stored["event_id"], stored["app_user_id"], stored["more"]) == (
        TIME,
        "order-4711",
        "u-1",
        1,
    )
    assert stored["properties"]["email_sha256"] == str(email_digest("a@example.com"))
    assert not {"name", "occurredAt", "eventId", "appUserId"} & stored.keys()
    assert "example.com" not in json.dumps(record).lower()


@pytest.mark.parametrize("said", [None, "production"])
def test_a_key_for_tests_makes_test_records(one_worker: Site, said: str | None) -> None:
    """Whatever the event or a header says: what is sent with a test key never counts as production."""
    tenant = known(one_worker)
    partner = one_worker.partner(one_worker.operators.key(tenant.organization_id, ("events:write",), env="test"))
    event = {**EVENT, "environment": said} if said else EVENT
    answer = send(partner, tenant.batch(event), X_Environment="production")
    (record,) = records(one_worker, tenant)

    assert answer.status == 202
    assert record["meta"]["environment"] == "test"


def test_live_keys_leave_the_environment_to_the_event(one_worker: Site) -> None:
    """A live key says nothing of it, and no header does."""
    tenant = known(one_worker)
    partner = one_worker.partner(one_worker.operators.key(tenant.organization_id, ("events:write",)))
    send(partner, tenant.batch({**EVENT, "environment": "staging"}, {**EVENT, "eventId": "2"}), X_Environment="x")

    assert [record["meta"].get("environment") for record in records(one_worker, tenant)] == ["staging", None]


def test_an_app_of_somebody_else(one_worker: Site, tenant: Tenant, partner: Partner) -> None:
    """Another's app, another project's and one that does not exist are answered alike, and nothing is stored."""
    other = known(one_worker)
    second = one_worker.operators.tenant()
    answers = [
        send(partner, other.batch(EVENT)),
        send(partner, other._replace(project_id=tenant.project_id).batch(EVENT)),
        send(partner, tenant._replace(project_id=second.project_id).batch(EVENT)),
        send(partner, tenant._replace(app_id="app_none").batch(EVENT)),
        send(partner, tenant._replace(app_id="a@b.example").batch(EVENT)),
    ]

    assert [(answer.status, answer.code) for answer in answers] == [(404, "NOT_FOUND")] * 5
    assert len({answer.json()["error"]["message"] for answer in answers}) == 1
    assert all(is_rated(answer, "write") for answer in answers)
    assert records(one_worker, other) == []


def test_verdicts_are_in_the_names_of_partners(tenant: Tenant, partner: Partner) -> None:
    """A rejected event is told by index, in the names that were sent; an id is repeated where it is harmless."""
    bad = [
        7,
        {"occurredAt": TIME, "eventId": "e-1"},
        {"name": "a"},
        {**EVENT, "occurredAt": "yesterday"},
        {**EVENT, "eventId": []},
        {**EVENT, "eventId": "e" * 201},
        {**EVENT, "name": ""},
        {**EVENT, "event": "a"},
        {**EVENT, "timestamp": TIME},
        {**EVENT, "event_id": "x"},
        {**EVENT, "app_user_id": "x"},
        {**EVENT, "app_id": "app_other"},
        {**EVENT, "eventId": "a@example.com", "occurredAt": 5},
    ]
    answer = send(partner, tenant.batch(*bad))
    partly = send(partner, tenant.batch(EVENT, *bad))
    told = [
        (each["index"], each["code"], each.get("path"), each.get("eventId"))
        for each in answer.json()["error"]["details"]["rejected"]
    ]

    assert (answer.status, answer.code) == (400, "ALL_EVENTS_REJECTED")
    assert told == [
        (0, "NOT_AN_OBJECT", None, None),
        (1, "MISSING_FIELD", "name", "e-1"),
        (2, "MISSING_FIELD", "occurredAt", None),
        (3, "INVALID_TIMESTAMP", "occurredAt", None),
        (4, "INVALID_TYPE", "eventId", None),
        (5, "INVALID_VALUE", "eventId", None),
        (6, "INVALID_VALUE", "name", None),
        (7, "INVALID_VALUE", "event", None),
        (8, "INVALID_VALUE", "timestamp", None),
        (9, "INVALID_VALUE", "event_id", None),
        (10, "INVALID_VALUE", "app_user_id", None),
        (11, "APP_MISMATCH", "app_id", None),
        (12, "INVALID_TYPE", "occurredAt", None),
    ]
    messages = [each["message"] for each in answer.json()["error"]["details"]["rejected"]]
    assert [
        name for name in ("`event`", "`timestamp`", "`event_id`") if any(name in each for each in messages[1:7])
    ] == []
    assert (partly.status, partly.json()["accepted"], len(partly.json()["rejected"])) == (202, 1, len(bad))


def test_a_hundred_events_and_no_more(one_worker: Site) -> None:
    """100 events are stored, repeats in a batch once; 101 are a fault of the envelope."""
    tenant = known(one_worker)
    partner = one_worker.partner(one_worker.operators.key(tenant.organization_id, ("events:write",)))
    events = [{**EVENT, "eventId": str(number)} for number in range(99)]
    answer = send(partner, tenant.batch(*events, events[0]))
    too_many = send(partner, tenant.batch(*events, EVENT, EVENT))

    assert (answer.status, answer.json()["accepted"], answer.json()["duplicates"]) == (202, 99, 1)
    assert len(records(one_worker, tenant)) == 99
    assert (too_many.status, too_many.code) == (422, "VALIDATION")
    assert too_many.json()["error"]["details"] == {
        "errors": [{"path": "events", "message": "must hold at most 100 events"}]
    }


def test_the_apps_rate_is_charged_for_both_surfaces(one_worker: Site) -> None:
    """What a partner sends counts for the app: then partners and SDKs are both told to wait."""
    tenant = known(one_worker, events_per_minute_max=10)
    partner = one_worker.partner(one_worker.operators.key(tenant.organization_id, ("events:write",)))
    sent = send(partner, tenant.batch(*({**EVENT, "eventId": str(number)} for number in range(60))))
    answers = [
        send(partner, tenant.batch(EVENT)),
        partner.call("POST", "/events", b'{"events": [{}]}', X_App_Id=tenant.app_id),
    ]

    assert sent.status == 202
    for answer in answers:
        assert (answer.status, answer.code) == (429, "RATE_LIMITED")
        assert answer.json()["error"]["details"] == {"eventsPerMinuteMax": 10}
        assert int(answer.headers["retry-after"]) > 60
    assert is_rated(answers[0], "write")
    assert int(answers[0].headers["x-ratelimit-remaining"]) > 0


def test_the_apps_kill_holds_for_partners(one_worker: Site) -> None:
    """An app that is switched off takes nothing from anybody; the key itself goes on."""
    tenant = known(one_worker)
    operators = one_worker.operators
    partner = one_worker.partner(operators.key(tenant.organization_id))
    operators.do(lambda connection: turn_app(connection, tenant.app_id, ANNA, killed=True, reason="a test"))
    await_true(lambda: send(partner, tenant.batch(EVENT)).status != 202, "it is in force")
    answer = send(partner, tenant.batch(EVENT))

    assert (answer.status, answer.code) == (503, "KILL_SWITCH")
    assert answer.json()["error"]["details"] == {"scope": "key"}
    assert is_rated(answer, "write")
    assert partner.whoami().status == 200


ENCODINGS: Mapping[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "identity": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_bodies_may_be_compressed(tenant: Tenant, partner: Partner, encoding: str) -> None:
    """Each encoding of the SDKs' surface is one here too."""
    answer = send(partner, ENCODINGS[encoding](tenant.batch(EVENT)), Content_Encoding=encoding)

    assert answer.status == 202


def test_bodies_are_bounded(tenant: Tenant, partner: Partner) -> None:
    """Too large as sent, too large inflated, another encoding, half a stream: each is refused, with the limits told."""
    large = tenant.batch({**EVENT, "pad": "x" * 1_100_000})
    bomb = gzip.compress(tenant.batch({**EVENT, "pad": "x" * 6_000_000}))
    whole = gzip.compress(tenant.batch(EVENT))
    answers = [
        send(partner, large),
        send(partner, bomb, Content_Encoding="gzip"),
        send(partner, whole, Content_Encoding="compress"),
        send(partner, whole[:-9], Content_Encoding="gzip"),
        send(partner, b"{"),
    ]

    assert [(answer.status, answer.code) for answer in answers] == [
        (413, "PAYLOAD_TOO_LARGE"),
        (413, "PAYLOAD_TOO_LARGE"),
        (415, "UNSUPPORTED_ENCODING"),
        (400, "INVALID_JSON"),
        (400, "INVALID_JSON"),
    ]
    limits = [answer.json()["error"]["details"] for answer in answers[:2]]
    assert limits == [{"limit": "body_bytes", "max": 1_048_576}, {"limit": "inflated_bytes", "max": 5_242_880}]
    assert all(is_rated(answer, "write") for answer in answers)


def test_what_a_call_does_not_know_is_refused(tenant: Tenant, partner: Partner) -> None:
    """Parameters of a query are refused where a call has none, and told without what they say."""
    answers = [
        send(partner, tenant.batch(EVENT)),
        partner.call("POST", "/v1/events?wait=true", tenant.batch(EVENT)),
        partner.call("GET", "/v1/whoami?secret_name=x"),
    ]

    assert [answer.status for answer in answers] == [202, 422, 422]
    for answer in answers[1:]:
        assert answer.json()["error"]["details"] == {"errors": [{"path": "*", "message": "is not known"}]}


def test_a_client_that_goes_away_is_no_error_of_ours(one_worker: Site, key: PartnerKey) -> None:
    """A body that never comes whole is nobody's 500, neither in the figures nor in the log of requests."""
    route = 'ingest_requests_total{code="none",route="/v1/events",status="499"}'
    before = figures(one_worker.service).get(route, 0)
    head = f"POST /v1/events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {key.text()}\r\nContent-Length: 100\r\n\r\n{{"
    with socket.create_connection(("127.0.0.1", int(one_worker.service.settings["INGEST_PORT"]))) as connection:
        connection.sendall(head.encode())
    await_true(lambda: figures(one_worker.service).get(route, 0) == before + 1, "it is counted")

    def statuses() -> list[int]:
        found = one_worker.operators.run(
            "SELECT status FROM request_log WHERE key_id = %s AND status >= 499 AND code IS NULL", key.key_id
        )
        return [status for (status,) in found]

    await_true(lambda: statuses() != [], "it is written down")
    assert statuses() == [499]
