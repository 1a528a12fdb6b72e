"""Every way in which the running service says no, as a client sees it."""

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest.transport.sealed import SealKeys
from tests.journey.caller import Answer, Caller, read_answer
from tests.journey.waiting import figure, until
from tests.support.service import ServiceProcess

REQUEST_ID = re.compile(r"req_[0-7][0-9A-HJKMNP-TV-Z]{25}").fullmatch
EVENT = {"event": "view", "timestamp": "2026-11-24T10:00:00Z"}
BATCH = json.dumps({"events": [EVENT]}).encode()

APPS = """
[apps.app_demo]
project_id = "prj_demo"
organization_id = "org_demo"

[apps.app_killed]
project_id = "prj_demo"
organization_id = "org_demo"
kill_switch = true

[apps.app_retired]
project_id = "prj_demo"
organization_id = "org_demo"
active = false

[apps.app_killed_and_retired]
project_id = "prj_demo"
organization_id = "org_demo"
kill_switch = true
active = false

[apps.app_of_killed]
project_id = "prj_killed"
organization_id = "org_killed"

[apps.app_limited]
project_id = "prj_demo"
organization_id = "org_demo"
events_per_minute_max = 2

[kill]
organizations = ["org_killed"]
"""


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """Provide a service with small limits and an app for every answer."""
    folder = tmp_path_factory.mktemp("edge")
    (folder / "apps.toml").write_text(APPS, encoding="utf-8")
    env = {
        "INGEST_APPS_FILE": str(folder / "apps.toml"),
        "INGEST_SPOOL_KEY": SealKeys.generate(),
        "INGEST_BODY_BYTES_MAX": "65536",
        "INGEST_BODY_INFLATED_BYTES_MAX": "131072",
        "INGEST_EVENTS_PER_BATCH_MAX": "100",
        "INGEST_BODY_TIMEOUT_MS": "300",
        "INGEST_HEADER_TIMEOUT_MS": "300",
        "INGEST_DRAIN_TIMEOUT_MS": "5000",
    }
    with ServiceProcess(env, folder=folder) as service:
        yield service


def expect(answer: Answer, status: int, code: str) -> Any:
    """Check what all refusals have in common, and return the details."""
    assert answer.status == status, answer.raw
    assert answer.headers["content-type"] == "application/json"
    assert answer.json().keys() == {"error"}
    error = answer.json()["error"]
    assert {"code", "message", "requestId"} <= error.keys() <= {"code", "message", "requestId", "details"}
    assert error["code"] == code
    assert error["message"]
    assert error["requestId"] == answer.headers["x-request-id"]
    assert REQUEST_ID(error["requestId"])
    assert ("retry-after" in answer.headers) == (status in {429, 503})
    assert ("allow" in answer.headers) == (status == 405)
    return error.get("details")


@pytest.mark.parametrize("body", [b"", b"{", b"no", BATCH[:-1], b"\xff\xfe", b"\x1f\x8b"])
def test_what_is_not_json(edge: ServiceProcess, body: bytes) -> None:
    """400 INVALID_JSON, without details."""
    assert expect(Caller(edge.url).post(body), 400, "INVALID_JSON") is None


def test_a_damaged_stream_is_not_json(edge: ServiceProcess) -> None:
    """A body that is not what its content encoding says, or is cut, is 400 INVALID_JSON too."""
    packed = gzip.compress(BATCH)
    for body in (BATCH, packed[:-5], packed + b"x", b""):
        expect(Caller(edge.url).post(body, Content_Encoding="gzip"), 400, "INVALID_JSON")


@pytest.mark.parametrize("body", [b"[]", b"null", b"{}", b'{"events":[]}', b'{"events":{}}', b'{"events":null}'])
def test_what_is_no_batch(edge: ServiceProcess, body: bytes) -> None:
    """400 INVALID_BATCH."""
    assert expect(Caller(edge.url).post(body), 400, "INVALID_BATCH") is None


def test_a_batch_without_an_acceptable_event(edge: ServiceProcess) -> None:
    """400 ALL_EVENTS_REJECTED with one line per event: index, code, message, and path and id where they may be told."""
    events = [
        17,
        {},
        {**EVENT, "event_id": "e-1", "event": ""},
        {**EVENT, "event_id": "ann@example.com", "timestamp": "x"},
    ]
    details = expect(Caller(edge.url).post(json.dumps({"events": events}).encode()), 400, "ALL_EVENTS_REJECTED")

    assert [{name: value for name, value in each.items() if name != "message"} for each in details["rejected"]] == [
        {"index": 0, "code": "NOT_AN_OBJECT"},
        {"index": 1, "code": "MISSING_FIELD", "path": "event"},
        {"index": 2, "code": "INVALID_VALUE", "path": "event", "eventId": "e-1"},
        {"index": 3, "code": "INVALID_TIMESTAMP", "path": "timestamp"},
    ]
    assert all(each["message"] for each in details["rejected"])


def test_a_batch_with_one_acceptable_event(edge: ServiceProcess) -> None:
    """202: the good one is stored, the repeat counted, the bad ones told."""
    batch = {"events": [17, {**EVENT, "event_id": "e"}, {**EVENT, "event_id": "e"}, {**EVENT, "app_id": "app_other"}]}
    answer = Caller(edge.url).post(json.dumps(batch).encode())

    assert answer.status == 202
    body = answer.json()
    assert body.keys() == {"requestId", "stored", "accepted", "duplicates", "rejected"}
    assert (body["accepted"], body["duplicates"]) == (1, 1)
    assert [(each["index"], each["code"]) for each in body["rejected"]] == [(0, "NOT_AN_OBJECT"), (3, "APP_MISMATCH")]


@pytest.mark.parametrize(
    "text",
    [
        *(b"hello\r\n\r\n", b"POST /events HTTP/9.9\r\n\r\n", b"POST /events HTTP/1.1\r\nno colon\r\n\r\n"),
        *(
            b"GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        ),
        b"GET /health HTTP/1.1\r\nHost: a\r\nX-Long: " + b"x" * 40_000 + b"\r\n\r\n",
    ],
)
def test_what_is_not_http(edge: ServiceProcess, text: bytes) -> None:
    """400 BAD_REQUEST in the same envelope, and the connection ends."""
    answer = Caller(edge.url).say(text)

    assert expect(answer, 400, "BAD_REQUEST") is None
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("app_id", [None, "", "app_nobody", "APP_DEMO", "ann@example.com", "app_demo,app_demo"])
def test_an_unknown_sender(edge: ServiceProcess, app_id: str | None) -> None:
    """401 UNAUTHENTICATED where the app id is missing or unknown, in the header or in the body."""
    headers: dict[str, str | bytes] = {} if app_id is None else {"X-App-Id": app_id}
    caller = Caller(edge.url)

    assert expect(caller.send("POST", "/events", BATCH, headers), 401, "UNAUTHENTICATED") is None
    in_body = json.dumps({"events": [EVENT], "app_id": app_id}).encode()
    assert expect(caller.send("POST", "/events", in_body), 401, "UNAUTHENTICATED") is None


def test_a_retired_app(edge: ServiceProcess) -> None:
    """401 REVOKED, in the header or in the body."""
    assert expect(Caller(edge.url).post(BATCH, X_App_Id="app_retired"), 401, "REVOKED") is None
    in_body = json.dumps({"events": [{**EVENT, "app_id": "app_retired"}]}).encode()
    assert expect(Caller(edge.url).send("POST", "/events", in_body), 401, "REVOKED") is None


@pytest.mark.parametrize(
    ("app_id", "scope"), [("app_killed", "key"), ("app_killed_and_retired", "key"), ("app_of_killed", "organization")]
)
def test_a_killed_app(edge: ServiceProcess, app_id: str, scope: str) -> None:
    """503 KILL_SWITCH tells the scope, before the body is looked at; the advice to retry is never one constant."""
    answers = [Caller(edge.url).post(b"{", X_App_Id=app_id) for _ in range(12)]

    assert [expect(answer, 503, "KILL_SWITCH") for answer in answers] == [{"scope": scope}] * 12
    waits = [int(answer.headers["retry-after"]) for answer in answers]
    assert len(set(waits)) > 1
    assert all(1 <= wait <= 300 for wait in waits)


@pytest.mark.parametrize(
    "path", ["/", "/event", "/events/", "/Events", "/l/event", "/metrics", "/ready", "/v1/nothing", "//events"]
)
def test_an_unknown_path(edge: ServiceProcess, path: str) -> None:
    """404 NOT_FOUND for any method; the admin surface is not here."""
    for method in ("GET", "POST"):
        assert expect(Caller(edge.url).send(method, path), 404, "NOT_FOUND") is None


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        *(
            (method, path, {"POST", "OPTIONS"})
            for path in ("/events", "/l/events")
            for method in ("GET", "PUT", "DELETE", "PATCH")
        ),
        *((method, "/health", {"GET", "HEAD", "OPTIONS"}) for method in ("POST", "PUT", "DELETE")),
    ],
)
def test_a_method_that_a_path_does_not_answer(edge: ServiceProcess, method: str, path: str, allowed: set[str]) -> None:
    """405 METHOD_NOT_ALLOWED with what it does answer."""
    answer = Caller(edge.url).send(method, path)

    assert expect(answer, 405, "METHOD_NOT_ALLOWED") is None
    assert {name.strip() for name in answer.headers["allow"].split(",")} == allowed


def test_a_body_beyond_the_limit(edge: ServiceProcess) -> None:
    """413 with the limit in bytes: on a declared length before the body, on a chunked body while it comes."""
    caller = Caller(edge.url)
    declared = caller.send("POST", "/events", headers={"X-App-Id": "app_demo", "Content-Length": "65537"})
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    chunked = caller.send(
        "POST", "/events", chunk + b"1\r\n \r\n0\r\n\r\n", {"X-App-Id": "app_demo", "Transfer-Encoding": "chunked"}
    )

    for answer in (declared, chunked):
        assert expect(answer, 413, "PAYLOAD_TOO_LARGE") == {"limit": "body_bytes", "max": 65536}
    assert caller.post(BATCH + b" " * (65536 - len(BATCH))).status == 202


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_a_body_that_inflates_beyond_the_limit(edge: ServiceProcess, encoding: str) -> None:
    """413 with the limit of inflated bytes; one that just fits is taken."""
    import zlib

    import brotli
    import zstandard

    packers: dict[str, Any] = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress}
    pack = packers.get(encoding, zstandard.ZstdCompressor().compress)
    fits = BATCH + b" " * (131072 - len(BATCH))
    caller = Caller(edge.url)

    details = expect(caller.post(pack(fits + b" "), Content_Encoding=encoding), 413, "PAYLOAD_TOO_LARGE")
    assert details == {"limit": "inflated_bytes", "max": 131072}
    assert caller.post(pack(fits), Content_Encoding=encoding).status == 202


def test_more_events_than_a_batch_may_have(edge: ServiceProcess) -> None:
    """413 with the limit in events."""
    batches = [json.dumps({"events": [{**EVENT, "n": n} for n in range(count)]}).encode() for count in (100, 101)]

    assert Caller(edge.url).post(batches[0]).json()["accepted"] == 100
    details = expect(Caller(edge.url).post(batches[1]), 413, "PAYLOAD_TOO_LARGE")
    assert details == {"limit": "events", "max": 100}


@pytest.mark.parametrize("encoding", ["compress", "gzip, br", "x", "identity, gzip", "ann@example.com"])
def test_an_unknown_content_encoding(edge: ServiceProcess, encoding: str) -> None:
    """415 UNSUPPORTED_ENCODING."""
    assert expect(Caller(edge.url).post(BATCH, Content_Encoding=encoding), 415, "UNSUPPORTED_ENCODING") is None


@pytest.mark.parametrize(
    "begun",
    [b"POST /events HTTP/1.1\r\nHost: a\r\nX-App-Id: app_demo\r\nContent-Length: 90\r\n\r\n{", b"POST /events HT"],
)
def test_a_request_that_is_never_finished(edge: ServiceProcess, begun: bytes) -> None:
    """408 BODY_TIMEOUT after the idle time, for a body and for headers."""
    assert expect(Caller(edge.url).say(begun), 408, "BODY_TIMEOUT") is None


def test_an_app_that_sends_more_than_it_may(edge: ServiceProcess) -> None:
    """429 RATE_LIMITED with the time until the next batch passes; other apps are not concerned."""
    batch = json.dumps({"events": [{**EVENT, "n": n} for n in range(20)]}).encode()
    caller = Caller(edge.url)
    assert caller.post(batch, X_App_Id="app_limited").status == 202

    answers = [caller.post(batch, X_App_Id="app_limited") for _ in range(12)]
    assert [expect(answer, 429, "RATE_LIMITED") for answer in answers] == [{"eventsPerMinuteMax": 2}] * 12
    waits = [int(answer.headers["retry-after"]) for answer in answers]
    assert len(set(waits)) > 1
    assert min(waits) > 400
    for worse in (b"{", b"x" * 100_000):  # a 4xx would make the SDK drop the batch for good
        assert expect(caller.post(worse, X_App_Id="app_limited"), 429, "RATE_LIMITED") is not None
    assert caller.post(batch).status == 202


def test_blanks_behind_a_header_are_not_part_of_it(edge: ServiceProcess) -> None:
    """An app id is recognised whatever white space follows it."""
    for blank in (" ", "\t", " \t "):
        assert Caller(edge.url).post(BATCH, X_App_Id=f"app_demo{blank}").status == 202


def test_a_refusal_of_the_protocol_is_logged_under_its_request_id(edge: ServiceProcess) -> None:
    """What is not HTTP leaves a line too, so that a request id that somebody quotes can be found."""
    answer = Caller(edge.url).say(b"nonsense\r\n\r\n")
    request_id = answer.json()["error"]["requestId"]

    def lines() -> list[dict[str, Any]]:
        said = edge.stdout_path.read_text(encoding="utf-8").splitlines()
        return [line for line in map(json.loads, said) if line.get("request_id") == request_id]

    until(lambda: lines() != [])
    assert [(line["status"], line["code"], line["route"]) for line in lines()] == [(400, "BAD_REQUEST", "other")]


def test_the_admin_surface_answers_errors_alike(edge: ServiceProcess) -> None:
    """Unknown paths and methods, and what is not HTTP, get the envelope there too; no origin is let in."""
    admin = Caller(edge.admin_url)

    assert expect(admin.send("GET", "/nope", headers={"Origin": "https://shop.example"}), 404, "NOT_FOUND") is None
    assert expect(admin.send("POST", "/live"), 405, "METHOD_NOT_ALLOWED") is None
    assert expect(admin.say(b"nonsense\r\n\r\n"), 400, "BAD_REQUEST") is None
    assert expect(admin.send("GET", "/live", headers={"X-Long": "x" * 40_000}), 400, "BAD_REQUEST") is None
    assert REQUEST_ID(admin.send("GET", "/live").headers["x-request-id"])
    assert "access-control-allow-origin" not in admin.send("GET", "/live", headers={"Origin": "https://a.b"}).headers


def test_too_much_in_flight(tmp_path: Path) -> None:
    """503 OVERLOADED while another request holds the only place."""
    with small(tmp_path, IN_FLIGHT_REQUESTS_MAX="1", BODY_TIMEOUT_MS="5000") as service:
        caller = Caller(service.url)
        with caller.connect() as holding:
            head = b"POST /events HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-App-Id: app_demo\r\n"
            holding.sendall(head + b"Content-Length: %d\r\n\r\n" % len(BATCH))
            until(lambda: figure(service, "ingest_in_flight_requests") == 1)
            refused = caller.post(BATCH)
            holding.sendall(BATCH)
            held = read_answer(holding)

    assert expect(refused, 503, "OVERLOADED") is None
    assert held.status == 202


def test_nowhere_to_store(tmp_path: Path) -> None:
    """503 UNAVAILABLE once the local log is full; then nothing is acknowledged."""
    batch = json.dumps({"events": [{**EVENT, "n": n, "pad": "x" * 2_000} for n in range(10)]}).encode()
    with small(tmp_path, SPOOL_BYTES_MAX="1MiB", ACK_DEADLINE_MS="1000") as service:
        caller = Caller(service.url)
        answers = [caller.post(batch) for _ in range(60)]
    refused = [answer for answer in answers if answer.status != 202]

    assert answers[0].status == 202
    assert refused
    for answer in refused:
        assert expect(answer, 503, "UNAVAILABLE") is None


def small(folder: Path, **settings: str) -> ServiceProcess:
    """Start a service with settings of its own, named without their prefix."""
    (folder / "apps.toml").write_text(APPS, encoding="utf-8")
    env = {f"INGEST_{name}": value for name, value in settings.items()}
    return ServiceProcess(
        {"INGEST_APPS_FILE": str(folder / "apps.toml"), "INGEST_SPOOL_KEY": SealKeys.generate(), **env}, folder=folder
    )


def test_the_registry_follows_its_file(tmp_path: Path) -> None:
    """A change takes effect without a restart; a bad file is refused whole, and the last good one stays."""
    path = tmp_path / "apps.toml"
    with small(tmp_path) as service:
        caller = Caller(service.url)
        assert expect(caller.post(BATCH, X_App_Id="app_new"), 401, "UNAUTHENTICATED") is None

        path.write_text(APPS.replace("app_demo", "app_new"), encoding="utf-8")
        until(lambda: caller.post(BATCH, X_App_Id="app_new").status == 202)
        assert expect(caller.post(BATCH), 401, "UNAUTHENTICATED") is None

        path.write_text(APPS.replace("[kill]", "[apps.app_worse]\nproject_id = 17\n[kill]"), encoding="utf-8")
        until(lambda: figure(service, "ingest_registry_problems") > 0)
        assert caller.post(BATCH, X_App_Id="app_new").status == 202
        # The app may be new in the file that cannot be read: told 401, its SDK would drop the events for good.
        assert expect(caller.post(BATCH), 503, "UNAVAILABLE") is None

        path.write_text(APPS.replace("[kill]", "[kill]\nglobal = true"), encoding="utf-8")
        until(lambda: figure(service, "ingest_registry_problems") == 0)
        assert expect(caller.post(BATCH), 503, "KILL_SWITCH") == {"scope": "global"}
        assert expect(caller.post(BATCH, X_App_Id="app_killed"), 503, "KILL_SWITCH") == {"scope": "key"}
        assert expect(caller.post(BATCH, X_App_Id="app_retired"), 401, "REVOKED") is None
        assert expect(caller.post(BATCH, X_App_Id="app_of_killed"), 503, "KILL_SWITCH") == {"scope": "organization"}
        assert expect(caller.post(BATCH, X_App_Id="app_nobody"), 401, "UNAUTHENTICATED") is None

        path.write_text(APPS, encoding="utf-8")
        until(lambda: caller.post(BATCH).status == 202)
    said = service.stdout_path.read_text(encoding="utf-8") + service.stderr_path.read_text(encoding="utf-8")

    turned = [json.loads(line) for line in said.splitlines() if '"kill_switch"' in line and '"global"' in line]
    assert [(line["level"], line["killed"]) for line in turned] == [("warning", True), ("warning", False)]
    assert "registry_file_refused" in said
