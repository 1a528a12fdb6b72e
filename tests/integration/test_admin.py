"""The admin port of background processes as operators start them, while what they need goes and comes back."""

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from devservices.kafka import KafkaCluster
from devservices.ports import HOST, free_ports
from devservices.postgres import PostgresServer
from ingest.control.kills import turn_organization
from ingest.control.organizations import create_organization
from ingest.db.migrate import migrate
from ingest.transport.sealed import SealKeys
from tests.integration.edge import (
    ask,
    await_true,
    batch,
    event,
    figures,
    new_id,
    on_kafka,
    on_local_log,
    post,
    ready,
    run_command,
)
from tests.support.control import KIM, operate
from tests.support.program import Program
from tests.support.receivers import HttpReceiver
from tests.support.rows import as_persist
from tests.support.service import ServiceProcess

INSERTED = 'ingest_persist_rows_total{result="inserted"}'
DONE = 'ingest_consumer_records_done_total{topic="events"}'
DATABASE_AWAY = 'ingest_dependency_away{dependency="database"}'


class Operated:
    """A background process with an admin port; its output is in the program's file."""

    def __init__(self, program: Program, port: int) -> None:
        self.program = program
        self.admin_url = f"http://{HOST}:{port}"

    def reasons(self) -> list[str]:
        """Return why it is not ready, nothing where it is."""
        try:
            answer = ready(self)
        except ConnectionRefusedError:
            assert self.program.running, self.program.output_path.read_text()
            return ["the port is closed"]
        found: list[str] = answer.json().get("reasons", [])
        assert answer.status == (503 if found else 200)
        return found

    def await_ready(self) -> None:
        """Wait until it is."""
        await_true(lambda: not self.reasons(), "it is ready", 60)


@contextmanager
def operated(command: str, settings: Mapping[str, str], folder: Path) -> Iterator[Operated]:
    """Run a command with an admin port."""
    (port,) = free_ports(1)
    with Program(command, settings={**settings, "INGEST_ADMIN_PORT": str(port)}, folder=folder) as program:
        yield Operated(program, port)


def families(process: Operated) -> set[str]:
    """Return the names of all metrics that are shown."""
    text = ask(process.admin_url, "/metrics").body.decode()
    return {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}


@pytest.fixture
def own_database(own_postgres: PostgresServer) -> Iterator[str]:
    """Provide a migrated database on a server that the test may pause."""
    dsn = own_postgres.create_database(f"t{uuid4().hex[:12]}")
    migrate(dsn)
    yield dsn
    own_postgres.resume()


def test_persist_tells_how_it_is(own_postgres: PostgresServer, own_database: str, tmp_path: Path) -> None:
    """It is ready while it writes rows, not ready while PostgreSQL is frozen, and ready again; its figures add up."""
    edge = on_local_log(tmp_path, DATA_DIR=str(tmp_path / "data"))
    with ServiceProcess(edge, folder=tmp_path) as service, as_persist(own_database) as login:
        names = ("INGEST_DATA_DIR", "INGEST_SPOOL_KEY")
        settings = {**{name: edge[name] for name in names}, "INGEST_POSTGRES_DSN": login}
        with operated("persist", settings, tmp_path / "persist") as process:
            process.await_ready()
            assert ask(process.admin_url, "/live").json() == {"status": "ok"}
            assert post(service.url, batch(*(event(new_id()) for _ in range(3)))).status == 202
            await_true(lambda: figures(process)[DONE] == 3, "the events are rows")

            own_postgres.pause()
            await_true(lambda: process.reasons() == ["the database is away"], "the outage is told")
            assert ask(process.admin_url, "/live").status == 200
            assert post(service.url, batch(event(new_id()))).status == 202
            assert figures(process)[DATABASE_AWAY] == 1
            own_postgres.resume()
            process.await_ready()
            await_true(lambda: figures(process)[DONE] == 4, "what came meanwhile is a row")

            told = figures(process)
            assert (told[INSERTED], told[DATABASE_AWAY], told['ingest_consumer_away{topic="events"}']) == (4, 0, 0)
            assert told["ingest_process_resident_bytes"] > 1024 * 1024
            assert {"ingest_build_info", "ingest_consumer_lag_records"} <= families(process)
            assert not {"ingest_requests_total", "ingest_notify_deliveries_total"} & families(process)
            assert process.program.stop() == 0


def test_persist_tells_that_its_topics_are_not_there(database: str, tmp_path: Path) -> None:
    """Where no broker answers the transport is what is missing, and the process lives and waits."""
    migrate(database)
    (nobody,) = free_ports(1)
    settings = on_kafka(f"{HOST}:{nobody}", "t.", tmp_path, POSTGRES_DSN=database, DATA_DIR=str(tmp_path / "data"))
    del settings["INGEST_APPS_FILE"]
    with operated("persist", settings, tmp_path / "persist") as process:
        wanted = {"not read yet: erasures", "not read yet: events", "the transport is away"}
        await_true(lambda: wanted <= set(process.reasons()), "what is missing is told")
        await_true(lambda: "the database is away" not in process.reasons(), "the database is there")
        assert ask(process.admin_url, "/live").status == 200
        assert process.program.stop() == 0


def test_an_idle_consumer_notices_that_kafka_is_away(
    kafka: KafkaCluster, topic_prefix: str, database: str, tmp_path: Path
) -> None:
    """Although it has nothing to read: it is not ready while the brokers are frozen, and ready again."""
    migrate(database)
    settings = on_kafka(kafka.bootstrap, topic_prefix, tmp_path, POSTGRES_DSN=database, DATA_DIR=str(tmp_path / "data"))
    del settings["INGEST_APPS_FILE"]
    with operated("persist", settings, tmp_path / "persist") as process:
        process.await_ready()
        kafka.brokers[0].pause()
        try:
            await_true(lambda: "the transport is away" in process.reasons(), "the outage is told")
        finally:
            kafka.brokers[0].resume()
        process.await_ready()
        assert figures(process)['ingest_dependency_away{dependency="transport"}'] == 0


def test_notify_tells_how_it_is(own_postgres: PostgresServer, own_database: str, tmp_path: Path) -> None:
    """It counts what it delivers and what waits, and is ready while its database answers."""
    acme = operate(own_database, lambda connection: create_organization(connection, "Acme", "ops@acme.example", KIM))
    with HttpReceiver() as support:
        settings = {
            "INGEST_POSTGRES_DSN": own_database,
            "INGEST_SUPPORT_WEBHOOK_URL": support.url(),
            "INGEST_WEBHOOK_SECRET": base64.b64encode(bytes(32)).decode(),
        }
        with operated("notify", settings, tmp_path / "notify") as process:
            process.await_ready()
            operate(
                own_database,
                lambda connection: turn_organization(connection, acme, KIM, killed=True, reason="runaway"),
            )
            delivered = 'ingest_notify_deliveries_total{recipient="support",result="delivered"}'
            failed = 'ingest_notify_deliveries_total{recipient="organization",result="failed"}'
            await_true(lambda: figures(process)[delivered] == figures(process)[failed] == 1, "both were tried")
            await_true(lambda: figures(process)["ingest_outbox_undelivered_messages"] == 1, "there is no mail server")
            assert figures(process)["ingest_outbox_oldest_age_seconds"] > 0

            own_postgres.pause()
            await_true(lambda: process.reasons() == ["the database is away"], "the outage is told")
            own_postgres.resume()
            process.await_ready()
            assert process.program.stop() == 0


def test_a_taken_port_is_one_line(database: str, tmp_path: Path) -> None:
    """Two processes with the same admin port: the second ends at once and says what to do."""
    migrate(database)
    settings = {"INGEST_POSTGRES_DSN": database, "INGEST_SPOOL_KEY": SealKeys.generate()}
    with ServiceProcess(on_local_log(tmp_path), folder=tmp_path) as service:
        port = service.settings["INGEST_ADMIN_PORT"]
        given = {**settings, "INGEST_ADMIN_PORT": port, "INGEST_DATA_DIR": str(tmp_path / "other")}
        done = run_command(["persist"], given)
    (line,) = done.stderr.splitlines()

    assert done.returncode == 1
    assert line.startswith(f"ingest: cannot listen on {HOST}:{port}: ")
    assert "INGEST_ADMIN_PORT" in line


def test_the_port_that_the_system_chose_is_told(database: str, tmp_path: Path) -> None:
    """With port 0 a log line has the port that was had."""
    migrate(database)
    settings = {
        "INGEST_POSTGRES_DSN": database,
        "INGEST_SPOOL_KEY": SealKeys.generate(),
        "INGEST_ADMIN_PORT": "0",
        "INGEST_DATA_DIR": str(tmp_path / "data"),
    }
    with Program("persist", settings=settings, folder=tmp_path / "persist") as program:
        await_true(lambda: "admin_surface" in program.output_path.read_text(), "the line is there")
        lines = [json.loads(line) for line in program.output_path.read_text().splitlines() if "admin_surface" in line]
        assert ask(f"http://{lines[0]['host']}:{lines[0]['port']}", "/live").status == 200
        assert program.stop() == 0
