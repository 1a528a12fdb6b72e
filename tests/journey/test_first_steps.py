"""From a batch over HTTP to records on the transport, by the commands that an operator runs."""

import asyncio
import gzip
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import brotli
import pytest
import zstandard

from devservices.kafka import KafkaCluster
from ingest.cli.dev import EXAMPLES
from ingest.transport.contract import Delivered, Topic
from ingest.transport.kafka.connection import Connection
from ingest.transport.kafka.source import KafkaSource
from ingest.transport.sealed import SealKeys
from tests.journey.caller import Caller, read_answer
from tests.journey.waiting import figure, until
from tests.support.service import ServiceProcess

BATCHES = sorted(EXAMPLES.glob("*.json"))
UUID = "0198f3a2-7b5e-7c3d-9a1b-2c3d4e5f6a7b"
ULID = "req_01KB3Q2V9W8X7Y6Z5A4B3C2D1E"


def tail(service: ServiceProcess, *options: str) -> list[dict[str, Any]]:
    """Return what `ingest tail events` prints, beside the running service."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("INGEST_")}
    told = subprocess.run(
        [sys.executable, "-m", "ingest", "tail", "events", *options],
        env={**env, **service.settings},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (told.returncode, told.stderr) == (0, b"")
    return [json.loads(line) for line in told.stdout.splitlines()]


def read_kafka(bootstrap: str, prefix: str, count: int) -> list[Delivered]:
    """Read `count` events from a broker, or fewer where no more come."""

    async def read() -> list[Delivered]:
        connection = Connection(bootstrap, "PLAINTEXT", None, None, None, None)
        source = KafkaSource(connection, f"{prefix}events", Topic.EVENTS, group=None)
        await source.start()
        found: list[Delivered] = []
        while len(found) < count and (some := await source.poll(1_000, 15_000)):
            found.extend(some)
        await source.close()
        return found

    return asyncio.run(read())


def sent_ids() -> list[str]:
    """Return the ids of all events in the examples, in the order in which they are sent here."""
    return [event["event_id"] for path in BATCHES for event in json.loads(path.read_bytes())["events"]]


def send_examples(service: ServiceProcess, stored: str) -> None:
    """Send every example; all of its events must be accepted and stored as promised."""
    caller = Caller(service.url)
    for path in BATCHES:
        text = path.read_bytes()
        answer = caller.post(text)
        assert answer.status == 202, answer.raw
        assert answer.json() == {
            "requestId": answer.headers["x-request-id"],
            "stored": stored,
            "accepted": len(json.loads(text)["events"]),
            "duplicates": 0,
            "rejected": [],
        }


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """Provide what `ingest dev` starts, with nothing configured but its ports and folder."""
    with ServiceProcess({}, folder=tmp_path_factory.mktemp("demo"), args=("dev",)) as service:
        yield service


def test_every_example_arrives_on_the_local_log(tmp_path: Path) -> None:
    """What is accepted is what `ingest tail events` shows, each event once and in order, while the service runs."""
    with ServiceProcess({}, folder=tmp_path, args=("dev",)) as service:
        send_examples(service, "spooled")
        records = tail(service, "-n", "10000")

    assert [record["meta"]["event_id"] for record in records] == sent_ids()
    assert {record["meta"]["app_id"] for record in records} == {"app_demo"}
    events = json.dumps([record["event"] for record in records])
    assert '"email_sha256":' in events
    assert '"email":' not in events
    assert service.stop() == 0


def test_every_example_arrives_on_kafka(tmp_path: Path, kafka: KafkaCluster, topic_prefix: str) -> None:
    """Acknowledged by all copies; events of one installation lie in one partition, under the schema's name."""
    env = {
        "INGEST_APPS_FILE": str(EXAMPLES / "apps.toml"),
        "INGEST_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "INGEST_KAFKA_ALLOW_SINGLE_COPY": "true",
        "INGEST_SPOOL_KEY": SealKeys.generate(),
        "INGEST_TOPIC_PREFIX": topic_prefix,
    }
    with ServiceProcess(env, folder=tmp_path) as service:
        send_examples(service, "replicated")
        tailed = tail(service, "-n", "10000")
    records = read_kafka(kafka.bootstrap, topic_prefix, len(sent_ids()))

    assert sorted(record["meta"]["event_id"] for record in tailed) == sorted(sent_ids())
    assert sorted(json.loads(record.value)["meta"]["event_id"] for record in records) == sorted(sent_ids())
    assert {record.headers for record in records} == {(("schema", b"event/1"),)}
    homes: dict[bytes, set[int]] = {}
    for record in records:
        assert record.key == f"app_demo:{json.loads(record.value)['event']['install_id']}".encode()
        homes.setdefault(record.key, set()).add(record.partition)
    assert all(len(partitions) == 1 for partitions in homes.values())


def last(service: ServiceProcess) -> dict[str, Any]:
    """Return the newest record."""
    (record,) = tail(service, "-n", "1")
    return record


@pytest.mark.parametrize("path", ["/events", "/l/events"])
@pytest.mark.parametrize("where", ["root", "event"])
def test_a_beacon_without_headers_is_taken(demo: ServiceProcess, path: str, where: str) -> None:
    """The app's id stands in the body; the content type does not matter; the address becomes a region."""
    batch: dict[str, Any] = {
        "events": [{"event": "hide", "timestamp": "2026-11-24T10:00:00Z", "event_id": path + where}]
    }
    (batch if where == "root" else batch["events"][0])["app_id"] = "app_demo"
    headers: dict[str, str | bytes] = {"Content-Type": "text/plain;charset=UTF-8", "X-Forwarded-For": "198.51.100.7"}
    answer = Caller(demo.url).send("POST", path, json.dumps(batch).encode(), headers)
    meta = last(demo)["meta"]

    assert (answer.status, answer.json()["accepted"]) == (202, 1)
    assert (meta["event_id"], meta["app_id"], meta["source"]) == (path + where, "app_demo", "sdk")
    assert (meta["country_code"], meta["subdivision1_code"]) == ("GB", "ENG")


def _raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        *(
            ("", bytes),
            ("identity", bytes),
            ("gzip", gzip.compress),
            ("GZIP", gzip.compress),
            ("deflate", zlib.compress),
        ),
        *(("deflate", _raw_deflate), ("br", brotli.compress), ("zstd", zstandard.ZstdCompressor().compress)),
    ],
)
def test_every_content_encoding_is_undone(demo: ServiceProcess, encoding: str, pack: Any) -> None:
    """The same batch is accepted in each of them."""
    answer = Caller(demo.url).post(pack((EXAMPLES / "ios-20.json").read_bytes()), Content_Encoding=encoding)
    assert (answer.status, answer.json()["accepted"]) == (202, 20)


def test_health_is_told_without_asking_anybody(demo: ServiceProcess) -> None:
    """On the public port, to GET and HEAD."""
    answer = Caller(demo.url).send("GET", "/health")
    head = Caller(demo.url).send("HEAD", "/health")

    assert (answer.status, answer.body) == (200, b'{"status":"ok"}')
    assert (head.status, head.body) == (200, b"")


@pytest.mark.parametrize("kept", [ULID, UUID, UUID.upper()])
def test_a_good_request_id_is_echoed_and_recorded(demo: ServiceProcess, kept: str) -> None:
    """The answer's header and body and the record carry the client's id; a refusal and any other answer do, too."""
    caller = Caller(demo.url)
    batch = (EXAMPLES / "web-1.json").read_bytes()
    answer = caller.post(batch, X_Request_Id=kept)
    refusal = caller.post(b"{", X_Request_Id=kept)

    assert (answer.headers["x-request-id"], answer.json()["requestId"]) == (kept, kept)
    assert last(demo)["meta"]["request_id"] == kept
    assert (refusal.headers["x-request-id"], refusal.json()["error"]["requestId"]) == (kept, kept)
    for path in ("/health", "/nowhere"):
        assert caller.send("GET", path, headers={"X-Request-Id": kept}).headers["x-request-id"] == kept


@pytest.mark.parametrize(
    "given",
    [
        "",
        "17",
        ULID.lower(),
        ULID[4:],
        "req_" + "8" * 26,
        UUID[:-1],
        UUID.replace("-", ""),
        "ann@example.com",
    ],
)
def test_any_other_request_id_is_replaced(demo: ServiceProcess, given: str) -> None:
    """By `req_` and a ULID."""
    found = Caller(demo.url).post(b"{", X_Request_Id=given).headers["x-request-id"]

    assert found != given
    assert len(found) == 30
    assert found.startswith("req_0")


@pytest.mark.parametrize("origin", ["https://shop.example", "null", "http://localhost:3000", "file://"])
def test_the_origin_is_echoed_on_every_answer(demo: ServiceProcess, origin: str) -> None:
    """With credentials, for a page-hide beacon is sent with them; and no cookie is ever set."""
    caller = Caller(demo.url)
    answers = [
        caller.post((EXAMPLES / "beacon-1.json").read_bytes(), Origin=origin, Cookie="a=1"),
        caller.post(b"{", Origin=origin),
        caller.send("GET", "/health", headers={"Origin": origin}),
        caller.send("GET", "/nowhere", headers={"Origin": origin}),
        caller.send("GET", "/events", headers={"Origin": origin}),
    ]

    assert [answer.status for answer in answers] == [202, 400, 200, 404, 405]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == origin
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert answer.headers["vary"] == "Origin"
        exposed = {name.strip().lower() for name in answer.headers["access-control-expose-headers"].split(",")}
        assert exposed == {"x-request-id", "retry-after", "etag"}
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("path", ["/events", "/l/events"])
def test_a_preflight_allows_what_sdks_send(demo: ServiceProcess, path: str) -> None:
    """Every header that SDKs send, with credentials, for a day."""
    asked = "content-type,x-app-id,x-api-key,x-environment,x-sdk-version,x-session-id,x-request-id,content-encoding"
    headers: dict[str, str | bytes] = {
        "Origin": "https://shop.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": asked,
    }
    answer = Caller(demo.url).send("OPTIONS", path, headers=headers)

    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert set(asked.split(",")) <= set(
        answer.headers["access-control-allow-headers"].lower().replace(" ", "").split(",")
    )
    assert answer.headers["access-control-max-age"] == "86400"
    assert answer.headers["vary"] == "Origin"


def test_a_stop_answers_what_is_in_flight(tmp_path: Path) -> None:
    """After SIGTERM a request whose body is still on its way is answered and stored, and the exit code is 0."""
    batch = (EXAMPLES / "ios-20.json").read_bytes()
    head = b"POST /events HTTP/1.1\r\nHost: a\r\nX-App-Id: app_demo\r\nContent-Length: %d\r\n\r\n" % len(batch)
    with ServiceProcess({}, folder=tmp_path, args=("dev",)) as service, Caller(service.url).connect() as connection:
        connection.sendall(head + batch[:100])
        until(lambda: figure(service, "ingest_in_flight_requests") == 1)
        service.terminate()
        until(lambda: not accepts(service))
        connection.sendall(batch[100:])
        answer = read_answer(connection)
        code = service.wait()

    assert (answer.status, answer.json()["accepted"]) == (202, 20)
    assert code == 0
    assert len(tail(service, "-n", "1000")) == 20
    assert not list((tmp_path / "data").glob("*.env"))


def test_the_data_folder_is_private(tmp_path: Path) -> None:
    """Whoever made it before: nobody else may look into the data folder or read a file in it."""
    (tmp_path / "data").mkdir(mode=0o755)
    with ServiceProcess({}, folder=tmp_path, args=("dev",)):
        found = {path: path.stat().st_mode & 0o777 for path in (tmp_path / "data", *(tmp_path / "data").rglob("*"))}

    assert set(found.values()) == {0o700, 0o600}


def test_one_data_folder_has_one_dev(tmp_path: Path) -> None:
    """A second `ingest dev` on the same folder is refused in one line, and leaves the first one as it was."""
    with ServiceProcess({}, folder=tmp_path, args=("dev",)) as service:
        env = {name: value for name, value in os.environ.items() if not name.startswith("INGEST_")}
        second = subprocess.run(
            [sys.executable, "-m", "ingest", "dev"],
            env={**env, "INGEST_DATA_DIR": service.settings["INGEST_DATA_DIR"], "INGEST_PORT": "0"},
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert (tmp_path / "data" / "dev.env").is_file()
        assert tail(service) == []

    assert second.returncode == 1
    (line,) = second.stderr.decode().splitlines()
    assert "in use" in line


def accepts(service: ServiceProcess) -> bool:
    """Tell whether the public port takes connections."""
    try:
        Caller(service.url).connect().close()
    except OSError:
        return False
    return True


def test_an_unknown_setting_refuses_the_start(tmp_path: Path) -> None:
    """Exit code 1 and one line that names the variable and the nearest that exists."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("INGEST_")}
    for command in ("serve", "dev"):
        told = subprocess.run(
            [sys.executable, "-m", "ingest", command],
            env={**env, "INGEST_PROT": "8080", "INGEST_DATA_DIR": str(tmp_path), "INGEST_SPOOL_KEY": "A" * 43 + "="},
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert told.returncode == 1
        assert told.stdout == b""
        (line,) = told.stderr.decode().splitlines()
        assert "INGEST_PROT" in line
        assert "INGEST_PORT" in line
