"""After journeys over all calls nothing holds a secret of a key, or an identifier that was planted in events."""

import contextlib
import gzip
import json
import re
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from devservices.kafka import KafkaCluster
from devservices.valkey import ValkeyServer
from ingest.control.organizations import create_app
from ingest.control.secrets import PartnerKey, mint
from tests.integration.edge import Answer
from tests.integration.partner import (
    ANNA,
    Operators,
    Partner,
    Site,
    Store,
    Tenant,
    await_app,
    dump_database,
    dump_valkey,
    site_settings,
    spellings,
)
from tests.journey.caller import Caller
from tests.journey.canary import EMAIL, NOT_HTTP, PEER, PHONE, V4, V6, Attempt, attempts
from tests.journey.test_canary import (
    CONNECTING,
    FORWARDED,
    V4_SPELLINGS,
    V6_SPELLINGS,
    admin_outputs,
    assert_digests_arrived,
    assert_nothing_leaks,
    outputs_on_disk,
    read_kafka,
    record_outputs,
)
from tests.support.service import ServiceProcess

Outputs = list[tuple[str, bytes]]

TIME = "2026-11-24T10:00:00Z"
APP = "app_demo"
"""The id that the canary's search excuses in the keys of records."""


@contextlib.contextmanager
def edge(store: Store, valkey: ValkeyServer, kafka: KafkaCluster, folder: Path) -> Iterator[tuple[Site, str]]:
    """Run an edge that says all that it can, behind a trusted proxy; yields it and what its topics begin with."""
    prefix = f"t{uuid.uuid4().hex[:12]}."
    env = {
        **site_settings(store, valkey, LOG_LEVEL="debug", TRUSTED_PROXIES="127.0.0.0/8"),
        "INGEST_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "INGEST_KAFKA_ALLOW_SINGLE_COPY": "true",
        "INGEST_TOPIC_PREFIX": prefix,
    }
    with ServiceProcess(env, folder=folder) as service:
        yield Site(service, Operators(store.owner), valkey, store, folder), prefix


def kept(store: Store, valkey: ValkeyServer, folder: Path) -> Outputs:
    """Return everything that is left: all tables as text, all of Valkey, every file, the edge's own output included."""
    tables = [(name, "\n".join(rows).encode()) for name, rows in dump_database(store.owner).items()]
    cache = [("valkey", f"{name} {value}".encode("latin-1")) for name, value in dump_valkey(valkey.url).items()]
    return [*tables, *cache, *outputs_on_disk(folder)]


def found_in(outputs: Iterable[tuple[str, bytes]], secrets: Iterable[str]) -> list[tuple[str, int]]:
    """Return in which outputs which of the secrets stands, in any of its spellings."""
    forms = [
        (number, form)
        for number, secret in enumerate(secrets)
        for form in {*spellings(secret), secret.lower().encode()}
    ]
    return [(place, number) for place, data in outputs for number, form in forms if form in data]


class Journey:
    """Calls of all kinds, of which every answer is kept but those that are shown a new key."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.tenant: Tenant = site.operators.tenant()
        await_app(site, self.tenant.app_id)
        self.answers: Outputs = []
        self.codes: set[str] = set()
        self.secrets: list[str] = []
        self.admin = self.partner()

    def key(self, *scopes: str, tier: str = "partner") -> PartnerKey:
        """Add a key, and remember its secret."""
        made = self.site.operators.key(self.tenant.organization_id, *([scopes] if scopes else []), tier=tier)
        self.secrets.append(made.secret)
        return made

    def partner(self, *scopes: str, tier: str = "partner") -> Partner:
        """Return somebody who calls with a new key."""
        return self.site.partner(self.key(*scopes, tier=tier))

    def wrong(self) -> PartnerKey:
        """Return a key that nobody has, and remember its secret."""
        made = mint("live")
        self.secrets.append(made.secret)
        return made

    def keep(self, answer: Answer) -> Answer:
        """Keep an answer."""
        head = "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
        self.answers.append((f"answer {answer.code}", head.encode() + answer.body))
        self.codes.add(answer.code)
        return answer

    def post(self, path: str, body: bytes = b"", partner: Partner | None = None, **headers: str) -> Answer:
        """Make a call and keep its answer."""
        return self.keep((partner or self.admin).call("POST", path, body, None, **headers))

    def get(self, path: str, partner: Partner | None = None, **headers: str) -> Answer:
        """Ask and keep the answer."""
        return self.keep((partner or self.admin).call("GET", path, None, None, **headers))


def succeed(it: Journey) -> None:
    """Make every call as it is meant, and repeats."""
    target, batch = it.key(), it.tenant.batch({"name": "a", "occurredAt": TIME})
    for path in ("/v1/whoami", "/v1/api-keys", "/v1/audit-log"):
        assert it.get(path).status == 200
    for _ in range(2):
        assert it.post("/v1/events", batch, Idempotency_Key="one").status == 202
    rotated = it.admin.call("POST", f"/v1/api-keys/{target.key_id}/rotate", b"", None, Idempotency_Key="two")
    shown = rotated.json()["secret"]
    it.secrets.append(shown.partition(".")[2])
    assert it.get("/v1/whoami", it.site.partner(shown)).status == 200
    assert it.post(f"/v1/api-keys/{target.key_id}/rotate", Idempotency_Key="two").json()["secret"] is None
    assert it.post(f"/v1/api-keys/{target.key_id}/kill", f'{{"reason": "it is {shown}"}}'.encode()).status == 200
    assert it.get("/v1/whoami", it.site.partner(shown)).code == "KILL_SWITCH"
    assert it.keep(it.admin.call("DELETE", f"/v1/api-keys/{target.key_id}")).status == 200
    assert it.post(f"/v1/api-keys/{target.key_id}/rotate").code == "CONFLICT"
    gone = it.key()
    leaked = f"the key {gone.text()} is in a public repository"
    it.site.operators.command("kill", "on", "key", gone.key_id, "--reason", leaked, "--actor", "anna")
    it.site.operators.command("keys", "revoke", gone.key_id, "--reason", leaked, "--actor", "anna")
    it.site.operators.run("UPDATE api_keys SET kill_switch = false WHERE id = %s", gone.key_id)
    assert it.get("/v1/whoami", it.site.partner(gone)).code == "REVOKED"


def be_refused(it: Journey) -> None:
    """Provoke what else can be answered."""
    wrong, nothing = it.site.partner(it.wrong()), it.partner("audit:read")
    spent, unlucky = it.partner(tier="standard"), it.key()
    for _ in range(2):
        assert it.get("/v1/whoami", wrong).code == "UNAUTHENTICATED"
    assert it.get("/v1/whoami", it.site.partner(f"{it.key().text()[:-1]}!")).code == "UNAUTHENTICATED"
    assert it.post("/v1/events", b"{}", nothing).code == "FORBIDDEN_SCOPE"
    for _ in range(61):
        last = it.post("/v1/events", b"{}", spent)
    assert last.code == "RATE_LIMITED"
    assert it.post("/v1/events", b"{").code == "INVALID_JSON"
    assert it.post("/v1/events", b"{}").code == "VALIDATION"
    assert it.post("/v1/events", b"x" * 1_100_000).code == "PAYLOAD_TOO_LARGE"
    assert it.post("/v1/events", b"{}", Content_Encoding="lzma").code == "UNSUPPORTED_ENCODING"
    assert it.post("/v1/events", b"{}", Idempotency_Key="one").code == "IDEMPOTENCY_CONFLICT"
    assert it.post("/v1/events", it.tenant.batch({})).code == "ALL_EVENTS_REJECTED"
    assert it.post("/v1/whoami").code == "METHOD_NOT_ALLOWED"
    assert it.get("/v1/nothing").code == "NOT_FOUND"
    it.site.operators.run("ALTER TABLE audit_events RENAME TO audit_events_away")
    try:
        path = f"/v1/api-keys/{unlucky.key_id}"
        assert it.post(f"{path}/kill", f'{{"reason": "{unlucky.text()}"}}'.encode()).code == "INTERNAL"
        assert it.post(f"{path}/rotate").code == "INTERNAL"
        assert it.get(f"/v1/audit-log?actor={unlucky.text()}").code == "INTERNAL"
    finally:
        it.site.operators.run("ALTER TABLE audit_events_away RENAME TO audit_events")


PLACES = ("X-Api-Key", "Cookie", "User-Agent", "X-Request-Id", "Idempotency-Key", "Referer", "Content-Type", "X-App-Id")
MALFORMED = (
    "{}",
    "bearer  {}",
    "Bearer {}.x",
    "Bearer {} {}",
    "Basic {}",
    "Bearer: {}",
    "Token {}",
    "Bearer {}\x0b",
    "Bearer '{}'",
)


def misplace(it: Journey) -> None:
    """Put keys, good ones and wrong ones, where they do not belong."""
    caller = Caller(it.site.service.url)
    for key in (it.key(), it.wrong()):
        text, batch = key.text(), it.tenant.batch({"name": "a", "occurredAt": TIME})
        for form in MALFORMED:
            it.get("/v1/whoami", it.admin, Authorization=form.replace("{}", text))
        for name in PLACES:
            it.post("/v1/events", batch, None, **{name: text})
            it.post("/events", b"{}", None, **{name: text, "Authorization": text})
        for path in (
            *(f"/v1/whoami?key={text}", f"/v1/whoami?{text}", f"/v1/events?api_key={text}", f"/v1/{text}"),
            *(f"/v1/audit-log?actor={text}", f"/v1/audit-log?cursor={text}", f"/v1/audit-log?{key.secret}=1"),
            *(f"/v1/audit-log?since={text}", f"/v1/api-keys?limit={text}", f"/v1/api-keys?cursor={key.secret}"),
            *(f"/v1/api-keys/{text}", f"/v1/api-keys/{text}/kill", f"/{text}", f"/v1/api-keys/{key.secret}/rotate"),
        ):
            it.get(path)
            it.post(path)
            it.keep(it.admin.call("DELETE", path))
        for body in (
            f'{{"{text}": 1}}',
            f'{{"{key.secret}": "{text}"}}',
            f'"{text}"',
            text,
            f'{{"reason": ["{text}"]}}',
            f'{{"projectId": "{text}", "sdkAppId": "{text}", "events": [{{"{text}": 1}}]}}',
            f'{{"projectId": 1, "sdkAppId": ["{text}"], "{text}": []}}',
        ):
            it.post("/v1/events", body.encode())
            it.post(f"/v1/api-keys/{it.wrong().key_id}/kill", body.encode())
            it.post(f"/v1/api-keys/{it.wrong().key_id}/rotate", body.encode())
        for line in (f"GET /{text}\r\n\r\n", f"{text}\r\n\r\n", f"GET / HTTP/1.1\r\n{text}\r\n\r\n"):
            it.answers.append(("not HTTP", caller.say(line.encode()).raw))


def test_no_secret_of_a_key_is_anywhere(
    store: Store, module_valkey: ValkeyServer, kafka: KafkaCluster, tmp_path: Path
) -> None:
    """Answers, figures, output, tables, the cache, files and records of a journey over everything hold no secret."""
    with edge(store, module_valkey, kafka, tmp_path) as (site, prefix):
        journey = Journey(site)
        for stage in (succeed, be_refused, misplace):
            stage(journey)
        told = list(admin_outputs(site.service))
    records = read_kafka(kafka.bootstrap, prefix, 1)
    values = [("record", record.key + record.value + repr(record.headers).encode()) for record in records]
    left = kept(store, module_valkey, tmp_path)

    assert found_in([*journey.answers, *told, *values, *left], journey.secrets) == []
    assert {"", "KILL_SWITCH", "REVOKED", "INTERNAL", "NOT_FOUND", "VALIDATION"} <= journey.codes
    everything = b"\n".join(data for _, data in left)
    assert b"is in a public repository" in everything  # reasons are kept, without what they show
    assert f"{journey.admin.key.partition('.')[0]}".removeprefix("lp_live_").encode() in everything
    assert {"audit_events", "outbox", "api_keys", "valkey", "stdout.log", "registry.json"} <= {name for name, _ in left}


@pytest.mark.parametrize("spell", range(9))
def test_a_secret_would_be_found(spell: int) -> None:
    """In an output of any kind the search would not miss it, and it finds nothing else."""
    secret, other = mint("live").secret, mint("live").secret
    form = [*spellings(secret)][spell % len([*spellings(secret)])]

    assert found_in([("a", b'{"x": "' + form + b'"}'), ("b", other.encode())], [secret]) == [("a", 0)]


_OURS = {b"event": b"name", b"timestamp": b"occurredAt", b"event_id": b"eventId", b"app_user_id": b"appUserId"}
_is_named = re.compile(rb'"(event|timestamp|event_id|app_user_id)"(?=\s*:)')
_STATUS = {"no batch": 422, "too many events": 422, "query": 422}
_is_idempotency_key = re.compile(rb"[\x21-\x7e]{1,255}").fullmatch
_SDKS_ALONE = ("unknown app", "unknown app in the body", "killed app", "retired app", "header Authorization")


def as_partner(attempt: Attempt, tenant: Tenant) -> Attempt | None:
    """Return what a partner would send in place of an SDK's request; None for what SDKs alone can do."""
    if attempt.place in _SDKS_ALONE:
        return None
    packed = attempt.headers.get("Content-Encoding") == "gzip" and attempt.body.startswith(b"\x1f\x8b")
    body = gzip.decompress(attempt.body) if packed else attempt.body
    head, tail = body, b""
    if attempt.place == "exempt members":  # inside of properties they keep their names
        head, inner, tail = body.partition(b'"properties"')
        tail = inner + tail
    body = _is_named.sub(lambda each: b'"' + _OURS[each[1]] + b'"', head) + tail
    if body.startswith(b"{"):
        ids = json.dumps({"projectId": tenant.project_id, "sdkAppId": tenant.app_id}).encode()
        body = ids[:-1] + b", " + body[1:]
    path = (
        attempt.path.replace("/events", "/v1/events", 1) if attempt.path.startswith("/events") else f"/v1{attempt.path}"
    )
    status = _STATUS.get(attempt.place, attempt.status)
    named = attempt.headers.get("Idempotency-Key")
    if isinstance(named, bytes) and not _is_idempotency_key(named.strip()):
        status = 422
    return attempt._replace(path=path, status=status, body=gzip.compress(body) if packed else body)


def send_all(site: Site, tenant: Tenant, key: PartnerKey) -> tuple[Outputs, int]:
    """Send every attempt as a partner, each with the status that it must get; returns all answers and what passed."""
    caller = Caller(site.service.url, source=PEER)
    answers, accepted, number = [], 0, 0
    for each in attempts((*V4_SPELLINGS, *V6_SPELLINGS)):
        attempt = as_partner(each, tenant)
        if attempt is None:
            continue
        number += 1
        own = {"Authorization": f"Bearer {key.text()}"}
        headers = {**(FORWARDED, CONNECTING)[number % 2], **attempt.headers, **own}
        answer = caller.send(attempt.method, attempt.path, attempt.body, headers)
        assert answer.status == attempt.status, (attempt.place, answer.raw)
        answers.append((attempt.place, answer.raw))
        if answer.status == 202 and "idempotency-replayed" not in answer.headers:
            accepted += answer.json()["accepted"]
    answers += [("not HTTP", caller.say(text).raw) for text in NOT_HTTP]
    return answers, accepted


def test_nothing_planted_in_events_leaves(
    store: Store, module_valkey: ValkeyServer, kafka: KafkaCluster, tmp_path: Path
) -> None:
    """Whatever a partner writes where: no answer, record, table, entry, file or figure holds an identifier."""
    operators = Operators(store.owner)
    tenant = operators.tenant()._replace(app_id=APP)
    operators.do(lambda connection: create_app(connection, tenant.project_id, "Shop", ANNA, app_id=APP))
    key = operators.key(tenant.organization_id)
    with edge(store, module_valkey, kafka, tmp_path) as (site, prefix):
        await_app(site, APP)
        answers, accepted = send_all(site, tenant, key)
        told = list(admin_outputs(site.service))
    records = read_kafka(kafka.bootstrap, prefix, accepted)

    assert len(records) == accepted
    assert {json.loads(record.value)["meta"]["source"] for record in records} == {"partner"}
    assert_digests_arrived(records)
    for outputs in (answers, told, record_outputs(records), kept(store, module_valkey, tmp_path)):
        assert_nothing_leaks(outputs)


def test_what_is_planted_is_what_a_partner_can_send() -> None:
    """The canary's requests keep their plants when they become a partner's."""
    tenant = Tenant("org_a", "prj_a", APP)
    bodies = [each.body for each in (as_partner(one, tenant) for one in attempts((V4, V6))) if each is not None]
    whole = b"\n".join(bodies)

    assert len(bodies) > 500
    assert all(plant.encode() in whole for plant in (EMAIL, PHONE, V4, V6))
    assert sum(_is_named.search(body) is not None for body in bodies) == 1  # the names inside of properties
