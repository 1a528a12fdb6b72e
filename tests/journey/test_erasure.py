"""Somebody is erased, from the request to the last place: tables, topics replayed into an empty database."""

import hashlib
import json
import time
from pathlib import Path
from typing import Any, Final

from devservices.kafka import KafkaCluster
from devservices.postgres import PostgresServer
from ingest.db.migrate import migrate
from ingest.transport.sealed import SealKeys
from tests.integration.edge import read_topic, run_command
from tests.journey.caller import Caller
from tests.journey.waiting import until
from tests.support.program import Program
from tests.support.rows import ask
from tests.support.service import ServiceProcess

ANN: Final = "ann-of-the-house"
EMAIL: Final = "ann@house.example"
DIGEST: Final = hashlib.sha256(EMAIL.encode()).hexdigest()
AT: Final = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
EVENTS: Final = [
    {"event": "view", "timestamp": AT, "event_id": "a1", "user_id": ANN},
    {"event": "view", "timestamp": AT, "event_id": "a2", "app_user_id": ANN, "properties": {"email": EMAIL}},
    {"event": "view", "timestamp": AT, "event_id": "a3", "properties": {"note": f"write to {EMAIL}"}},
    {"event": "view", "timestamp": AT, "event_id": "b1", "user_id": "bob"},
]
STATEMENTS: Final[dict[str, dict[str, Any]]] = {
    "/users/properties": {"app_user_id": ANN, "timestamp": AT, "properties": {"plan": "pro", "email": EMAIL}},
    "/consent": {"app_user_id": ANN, "install_id": "phone-1", "timestamp": AT, "advertising": False},
}


def command(settings: dict[str, str], *args: str, stdin: str = "") -> Any:
    """Run an operator's command and return the document that it prints."""
    done = run_command([*args, "--json"], settings, stdin)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def named(dsn: str) -> list[str]:
    """Return the tables in which the id, the address or its digest stands in any column."""
    tables = [row["tablename"] for row in ask(dsn, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    assert {"events", "user_properties", "consents", "erasures", "erased_subjects", "audit_events"} < set(tables)
    search = "SELECT 1 FROM {} AS t WHERE t::text LIKE ANY(%s)"
    wanted = [f"%{word}%" for word in (ANN, EMAIL, DIGEST)]
    return [table for table in tables if ask(dsn, search.format(table), (wanted,))]


def test_nobody_comes_back(
    tmp_path: Path, kafka: KafkaCluster, topic_prefix: str, database: str, postgres_server: PostgresServer
) -> None:
    """By id and by e-mail: every table is searched, and the topics are replayed into an empty database."""
    migrate(database)
    settings = {
        "INGEST_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "INGEST_KAFKA_ALLOW_SINGLE_COPY": "true",
        "INGEST_SPOOL_KEY": SealKeys.generate(),
        "INGEST_TOPIC_PREFIX": topic_prefix,
        "INGEST_POSTGRES_DSN": database,
    }
    tool = {"INGEST_POSTGRES_DSN": database}
    organization = command(tool, "orgs", "create", "--name", "House", "--contact", "ops@house.example")["id"]
    project = command(tool, "projects", "create", "--org", organization, "--name", "House")["id"]
    app = command(tool, "apps", "create", "--project", project, "--name", "House")["id"]
    with ServiceProcess(settings, folder=tmp_path / "edge") as service:
        caller = Caller(service.url)

        def send(path: str, body: dict[str, Any]) -> int:
            return caller.send("POST", path, json.dumps({"app_id": app, **body}).encode()).status

        until(lambda: send("/events", {"events": EVENTS[3:]}) == 202)
        with Program("persist", settings=settings, folder=tmp_path / "persist"):
            assert send("/events", {"events": EVENTS[:3]}) == 202
            assert [send(path, statement) for path, statement in STATEMENTS.items()] == [202, 202]
            until(lambda: {"events", "user_properties", "consents"} < set(named(database)))
            until(lambda: ask(database, "SELECT count(*) AS n FROM events") == [{"n": 4}])
            command(tool, "erase", "--project", project, "--user-id", ANN, "--wait")
            command(tool, "erase", "--project", project, "--email", "-", "--wait", stdin=f" {EMAIL.upper()}\n")
            assert named(database) == []
    assert [row["event_id"] for row in ask(database, "SELECT event_id FROM events")] == ["b1"]
    actions = ask(database, "SELECT action FROM audit_events WHERE target_type = 'erasure' ORDER BY at")
    assert [row["action"] for row in actions] == ["erasure.requested", "erasure.completed"] * 2
    told = b"".join(record.value for record in read_topic(kafka.bootstrap, f"{topic_prefix}erasures"))
    assert not [word for word in (ANN, EMAIL, DIGEST) if word.encode() in told]

    empty = postgres_server.create_database(f"e{topic_prefix.strip('.')}")
    migrate(empty)
    again = settings | {"INGEST_POSTGRES_DSN": empty}
    with Program("persist", "--from-oldest", settings=again, folder=tmp_path / "again"):
        until(lambda: ask(empty, "SELECT event_id FROM events WHERE event_id = 'b1'") != [])
        until(lambda: ask(empty, "SELECT coalesce(sum(next_offset), 0) AS n FROM consumer_positions") == [{"n": 4}])
    assert named(empty) == []
    assert [row["event_id"] for row in ask(empty, "SELECT event_id FROM events")] == ["b1"]
