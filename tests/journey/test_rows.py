"""From HTTP to rows: what was acknowledged is in PostgreSQL, once, on real Kafka and on the embedded default."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from devservices.kafka import KafkaCluster
from ingest.cli.dev import EXAMPLES
from ingest.db.migrate import migrate
from ingest.transport.sealed import SealKeys
from tests.journey.caller import Caller
from tests.journey.waiting import until
from tests.support.program import Program
from tests.support.rows import ask
from tests.support.service import ServiceProcess
from tests.support.skan import APPLE_SIGNED

BATCHES = sorted(EXAMPLES.glob("*.json"))


def sent() -> dict[str, dict[str, Any]]:
    """Return the events of all examples by their id."""
    return {event["event_id"]: event for path in BATCHES for event in json.loads(path.read_bytes())["events"]}


def send_examples(service: ServiceProcess) -> None:
    """Send every example; all must be taken."""
    for path in BATCHES:
        assert Caller(service.url).post(path.read_bytes()).status == 202


def say(service: ServiceProcess) -> None:
    """State properties and consent of a user, forward a postback, twice, and click; all must be taken."""
    user = {"app_id": "app_demo", "app_user_id": "user-1", "timestamp": "2026-11-24T10:00:00Z"}
    properties = {**user, "properties": {"plan": "pro", "email": "ann@b.c"}}
    for path, statement in (("/users/properties", properties), ("/consent", {**user, "advertising": False})):
        assert Caller(service.url).send("POST", path, json.dumps(statement).encode()).status == 202
    postback = json.dumps({"app_id": "app_demo", **APPLE_SIGNED[3]}).encode()
    for _ in range(2):
        assert Caller(service.url).send("POST", "/skan/postbacks", postback).status == 202
    led = Caller(service.url).send("GET", "/c/app_demo?utm_source=news&gclid=g1&token=secret")
    assert (led.status, led.headers["location"]) == (302, "https://www.example.com/")


SAID = "SELECT name FROM user_properties UNION SELECT name FROM consents ORDER BY 1"
JUDGED = "SELECT transaction_id, signature FROM skan_postbacks"
POSTBACKS = [{"transaction_id": APPLE_SIGNED[3]["transaction-id"], "signature": "valid"}]
CLICKED = "SELECT utm_source, parameters, target FROM clicks"
CLICKS = [{"utm_source": "news", "parameters": {"utm_source": "news", "gclid": "g1"}, "target": "web"}]
EXPECTED = [{"name": name} for name in ("advertising", "email_sha256", "plan")]


def rows(service: ServiceProcess, query: str) -> list[dict[str, Any]]:
    """Ask by the command that the README names, beside the running service."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("INGEST_")}
    told = subprocess.run(
        [sys.executable, "-m", "ingest", "sql", query, "--json"],
        env={**env, **service.settings},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (told.returncode, told.stderr) == (0, b"")
    found: list[dict[str, Any]] = json.loads(told.stdout)
    return found


@pytest.mark.usefixtures("postgres_programs")
def test_events_are_rows_by_the_embedded_default(tmp_path: Path) -> None:
    """`make run` ends with rows, each event once though it was sent twice, raw identifiers nowhere."""
    with ServiceProcess({}, folder=tmp_path, args=("dev",)) as service:
        send_examples(service)
        send_examples(service)
        say(service)
        count = "SELECT count(*) AS n, count(DISTINCT event_id) AS ids FROM events"
        until(lambda: rows(service, count) == [{"n": len(sent()), "ids": len(sent())}])
        until(lambda: rows(service, SAID) == EXPECTED)
        until(lambda: rows(service, JUDGED) == POSTBACKS)
        until(lambda: rows(service, CLICKED) == CLICKS)
        stored = rows(service, "SELECT event_id, name, platform, event::text AS event FROM events")

    for row in stored:
        event = sent()[row["event_id"]]
        assert (row["name"], row["platform"]) == (event["event"], event["platform"])
        assert '"email":' not in row["event"]
    assert service.stop() == 0


def test_events_are_rows_by_kafka(tmp_path: Path, kafka: KafkaCluster, topic_prefix: str, database: str) -> None:
    """Acknowledged by Kafka, every event becomes a row once; a consumer that is killed costs and doubles nothing."""
    migrate(database)
    settings = {
        "INGEST_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "INGEST_KAFKA_ALLOW_SINGLE_COPY": "true",
        "INGEST_SPOOL_KEY": SealKeys.generate(),
        "INGEST_TOPIC_PREFIX": topic_prefix,
    }
    apps = {"INGEST_APPS_FILE": str(EXAMPLES / "apps.toml")}
    persisting = {**settings, "INGEST_POSTGRES_DSN": database, "INGEST_DATA_DIR": str(tmp_path / "persist")}
    with ServiceProcess({**settings, **apps}, folder=tmp_path / "edge") as service:
        send_examples(service)
        with Program("persist", settings=persisting, folder=tmp_path / "persist-1") as first:
            until(lambda: ask(database, "SELECT count(*) AS n FROM events")[0]["n"] > 0)
            first.kill()
        send_examples(service)
        say(service)
        with Program("persist", settings=persisting, folder=tmp_path / "persist-2") as second:
            until(lambda: ask(database, "SELECT count(*) AS n FROM events")[0]["n"] == len(sent()))
            until(
                lambda: ask(database, "SELECT sum(next_offset) AS n FROM consumer_positions")[0]["n"] == 2 * len(sent())
            )
            until(lambda: ask(database, SAID) == EXPECTED)
            until(lambda: ask(database, JUDGED) == POSTBACKS)
            until(lambda: ask(database, CLICKED) == CLICKS)
            assert second.stop() == 0

    found = ask(database, "SELECT event_id, name, project_id FROM events")
    assert sorted(row["event_id"] for row in found) == sorted(sent())
    assert all(row["name"] == sent()[row["event_id"]]["event"] for row in found)
    assert {row["project_id"] for row in found} == {"prj_demo"}
