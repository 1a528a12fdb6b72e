"""Migrations on a real PostgreSQL: whole or not at all, safe twice and at once, and every column as expected."""

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import LiteralString
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from psycopg import sql

from devservices.ports import free_ports
from devservices.postgres import PostgresServer
from ingest.db.database import DatabaseAway
from ingest.db.migrate import migrate, newest, pending
from tests.integration.edge import await_true, run_command
from tests.support.control import Plane, execute

PROCESSES = 4

EVENTS = (
    "app_id:text event_id:text ts:timestamptz project_id:text organization_id:text name:text received_at:timestamptz"
    " user_id:text? app_user_id:text? install_id:text? session_id:text? digests:_text? platform:text? environment:text?"
    " country_code:text? subdivision1_code:text? source:text event:jsonb meta:jsonb"
)
STATEMENTS = (
    "app_id:text user_kind:text user_id:text name:text value:jsonb set_at:timestamptz received_at:timestamptz"
    " project_id:text organization_id:text app_user_id:text? digests:_text?"
)
SKAN_POSTBACKS = (
    "app_id:text transaction_id:text postback_sequence_index:int2 project_id:text organization_id:text"
    " received_at:timestamptz said_at:timestamptz? version:text ad_network_id:text campaign_id:int2?"
    " source_identifier:text? apple_app_id:int8 source_app_id:int8? source_domain:text? redownload:bool?"
    " fidelity_type:int2? did_win:bool? conversion_value:int2? coarse_conversion_value:text? country_code:text?"
    " attribution_signature:text signature:text"
)
TABLES = {
    "user_properties": STATEMENTS,
    "consents": STATEMENTS,
    "skan_postbacks": SKAN_POSTBACKS,
    "clicks": "app_id:text click_id:text project_id:text organization_id:text received_at:timestamptz target:text"
    " utm_source:text? utm_medium:text? utm_campaign:text? parameters:jsonb country_code:text? subdivision1_code:text?"
    " os:text? os_version:text? client:text? client_version:text?",
    "erasures": "id:text organization_id:text project_id:text subjects:_text requested_at:timestamptz"
    " published_at:timestamptz? completed_at:timestamptz? events_erased:int8 user_properties_erased:int8"
    " consents_erased:int8",
    "erased_subjects": "project_id:text subject:text erasure_id:text received_until:timestamptz number:int8",
    "events": EVENTS,
    "events_default": EVENTS,
    "consumer_positions": "consumer:text topic:text partition:int4 next_offset:int8 record_at_ms:int8",
    "alembic_version": "version_num:varchar",
    "organizations": "id:text name:text contact:text created_at:timestamptz",
    "projects": "id:text organization_id:text name:text created_at:timestamptz events_retention_days:int4?",
    "apps": "id:text project_id:text name:text environment:text? options:jsonb is_active:bool kill_switch:bool"
    " revoked_at:timestamptz? created_at:timestamptz",
    "api_keys": "id:text organization_id:text env:text name:text? secret_hash:text scopes:_text tier:text"
    " is_active:bool kill_switch:bool created_at:timestamptz rotated_at:timestamptz? revoked_at:timestamptz?",
    "kill_switches": "scope:text organization_id:text? reason:text actor:text turned_on_at:timestamptz platform:text?",
    "vault_secrets": "id:text app_id:text platform:text key_id:text sealed:bytea created_at:timestamptz"
    " replaced_at:timestamptz? resealed_at:timestamptz?",
    "deliveries": "app_id:text event_id:text event_at:text platform:text fate:text reason:text recorded_at:timestamptz",
    "forward_destinations": "app_id:text platform:text state:text reason:text since:timestamptz"
    " last_success_at:timestamptz? seen_at:timestamptz",
    "forward_workers": "id:text seen_at:timestamptz lag_records:int8 parked_records:int8",
    "audit_events": "id:text at:timestamptz organization_id:text? actor:text action:text target_type:text"
    " target_id:text reason:text? request_id:text? details:jsonb",
    "outbox": "id:text message_id:text recipient:text organization_id:text? payload:jsonb created_at:timestamptz"
    " attempts:int4 next_attempt_at:timestamptz delivered_at:timestamptz? last_failure:text?",
    "request_log": "at:timestamptz request_id:text organization_id:text? project_id:text? app_id:text? key_id:text?"
    " route:text method:text status:int2 code:text? latency_ms:float4 request_bytes:int4 response_bytes:int4",
    "registry_version": "one:bool version:int8",
}
"""Every table with its columns in order; `?` marks those that may be null."""

COLUMNS: LiteralString = """
    SELECT table_name, string_agg(
        column_name || ':' || udt_name || CASE is_nullable WHEN 'YES' THEN '?' ELSE '' END, ' '
        ORDER BY ordinal_position)
    FROM information_schema.columns WHERE table_schema = 'public' GROUP BY table_name
"""
STOPPING: LiteralString = """
    CREATE FUNCTION wait_for_the_test() RETURNS event_trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_advisory_xact_lock_shared(4711); END $$;
    CREATE EVENT TRIGGER wait_for_the_test ON ddl_command_start WHEN TAG IN ('CREATE TRIGGER')
        EXECUTE FUNCTION wait_for_the_test();
"""


def environment(dsn: str) -> dict[str, str]:
    """Return the settings of `ingest migrate`."""
    return {"INGEST_POSTGRES_DSN": dsn}


def tables(dsn: str) -> dict[str, str]:
    """Return all tables with their columns."""
    return dict(execute(dsn, COLUMNS))


@pytest.fixture
def bare(own_postgres: PostgresServer) -> str:
    """Provide an empty database on a server that the test may hurt."""
    return own_postgres.create_database(f"t{uuid.uuid4().hex[:12]}")


@contextlib.contextmanager
def login(superuser_dsn: str, database: str, attributes: LiteralString) -> Iterator[str]:
    """Make a login that owns a database, and yield its DSN for it."""
    name, word = f"owner_{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    role, place = sql.Identifier(name), sql.Identifier(database)
    parts = urlsplit(superuser_dsn)
    with psycopg.connect(superuser_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} " + attributes).format(role, sql.Literal(word)))
        connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(place, role))
        yield parts._replace(
            netloc=f"{name}:{quote(word)}@{parts.netloc.rpartition('@')[2]}", path=f"/{database}"
        ).geturl()

        connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO CURRENT_USER").format(place))
        with psycopg.connect(parts._replace(path=f"/{database}").geturl()) as inside:
            inside.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(role))
        connection.execute(sql.SQL("DROP ROLE {}").format(role))


def test_it_may_run_twice(database: str) -> None:
    """The first run makes everything, the second one nothing; what is there stays."""
    assert pending(database)
    assert migrate(database) == (None, newest())
    assert not pending(database)
    execute(database, "INSERT INTO organizations (id, name, contact) VALUES ('org_a', 'A', 'a@a.example')")
    assert migrate(database) == (newest(), newest())

    assert execute(database, "SELECT id FROM organizations") == [("org_a",)]


def test_every_table_is_as_expected(control_plane: Plane) -> None:
    """No column is missing and none is there that nobody expects."""
    assert tables(control_plane.owner) == TABLES


def test_the_command_tells_what_it_did(database: str) -> None:
    """One line tells from where to where, or that nothing was to be done."""
    first = run_command(["migrate"], environment(database))
    second = run_command(["migrate"], environment(database))

    assert (first.returncode, first.stdout, first.stderr) == (0, f"migrated from nothing to {newest()}\n", "")
    assert (second.returncode, second.stdout, second.stderr) == (0, f"up to date at {newest()}\n", "")


def test_it_may_run_in_several_processes_at_once(database: str) -> None:
    """One of them does the work while the others wait, and all of them succeed."""
    running = [start(database) for _ in range(PROCESSES)]
    ends = [each.communicate(timeout=60) for each in running]

    assert [each.returncode for each in running] == [0] * PROCESSES
    assert sorted(out for out, _ in ends) == [f"migrated from nothing to {newest()}\n"] + [
        f"up to date at {newest()}\n"
    ] * (PROCESSES - 1)
    assert {err for _, err in ends} == {""}
    assert tables(database) == TABLES


def start(dsn: str) -> subprocess.Popen[str]:
    """Start `ingest migrate`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("INGEST_")}
    return subprocess.Popen(
        [sys.executable, "-m", "ingest", "migrate"],
        env={**inherited, **environment(dsn)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def halfway(dsn: str) -> Iterator[subprocess.Popen[str]]:
    """Run `ingest migrate` and yield it where it stands still, half of its work done."""
    execute(dsn, STOPPING)
    with psycopg.connect(dsn, autocommit=True) as gate:
        gate.execute("SELECT pg_advisory_lock(4711)")
        running = start(dsn)
        waiting: LiteralString = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'ingest-migrate'"
        waiting += " AND wait_event = 'advisory' AND query LIKE '%%CREATE TABLE%%'"
        try:
            await_true(lambda: bool(execute(dsn, waiting)), "it stands in the middle")
            yield running
        finally:
            running.kill()
            running.communicate()


def test_a_kill_in_the_middle_leaves_nothing_half_done(bare: str) -> None:
    """What a killed run had made is gone, and the next one succeeds."""
    with halfway(bare) as running:
        running.send_signal(signal.SIGKILL)
        running.wait(10)
    left: LiteralString = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'ingest-migrate'"
    await_true(lambda: not execute(bare, left), "the server has noticed")

    assert tables(bare) == {}
    assert pending(bare)
    migrate(bare)
    assert tables(bare) == TABLES


def test_a_server_that_dies_in_the_middle_is_told_in_a_line(bare: str, own_postgres: PostgresServer) -> None:
    """The run ends with exit code 1 and one line, nothing is half done, and the next run succeeds."""
    with contextlib.suppress(psycopg.OperationalError), halfway(bare) as running:
        own_postgres.kill()
        out, err = running.communicate(timeout=20)
    own_postgres.restart()

    assert (running.returncode, out) == (1, "")
    assert_one_line(err, "cannot be reached")
    assert tables(bare) == {}
    migrate(bare)
    assert tables(bare) == TABLES


def assert_one_line(err: str, *words: str) -> None:
    """Check that an error was told in one line."""
    (line,) = err.splitlines()
    assert line.startswith("ingest: ")
    for word in words:
        assert word in line


def test_an_owner_who_may_make_roles_is_enough(bare: str, own_postgres: PostgresServer) -> None:
    """No superuser is needed."""
    name = urlsplit(bare).path[1:]
    with login(own_postgres.superuser_dsn, name, "CREATEROLE") as dsn:
        done = run_command(["migrate"], environment(dsn))

        assert (done.returncode, done.stderr) == (0, "")
        assert tables(dsn) == TABLES


@pytest.fixture
def fresh(postgres_programs: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:  # noqa: ARG001 - needed first
    """Provide a server on which no migration has made any role."""
    with PostgresServer(tmp_path_factory.mktemp("fresh"), durable=False) as server:
        yield server


def test_who_may_not_make_roles_is_told_so(fresh: PostgresServer) -> None:
    """An owner without the right to make roles gets one clear line; a role of the schema alone, nothing."""
    fresh.create_database("edge")
    with login(fresh.superuser_dsn, "edge", "NOCREATEROLE") as dsn:
        done = run_command(["migrate"], environment(dsn))

        assert (done.returncode, done.stdout) == (1, "")
        assert_one_line(done.stderr, "INGEST_POSTGRES_DSN", "owner", "create roles")
        assert tables(dsn) == {}


def test_who_may_not_change_the_schema_is_told_so(control_plane: Plane) -> None:
    """The login of an edge may look whether something is missing, and change nothing."""
    assert not pending(control_plane.serving)
    execute(control_plane.owner, "DELETE FROM alembic_version")
    done = run_command(["migrate"], environment(control_plane.serving))

    assert pending(control_plane.serving)
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_line(done.stderr, "may not change the schema")


def test_a_schema_that_is_newer_is_told_in_a_line(database: str) -> None:
    """A database that a later version has migrated is left alone, and lacks nothing."""
    migrate(database)
    execute(database, "UPDATE alembic_version SET version_num = '9999'")
    done = run_command(["migrate"], environment(database))

    assert (done.returncode, done.stdout) == (1, "")
    assert_one_line(done.stderr, "newer")
    assert not pending(database)


def test_a_database_that_is_away_is_told_in_a_line() -> None:
    """Nobody on the port, and no port at all, are errors of one line each."""
    (port,) = free_ports(1)
    away = run_command(["migrate"], environment(f"postgresql://nobody@127.0.0.1:{port}/edge"))
    unset = run_command(["migrate"], {})

    assert (away.returncode, unset.returncode) == (1, 1)
    assert_one_line(away.stderr, "cannot be reached")
    assert_one_line(unset.stderr, "INGEST_POSTGRES_DSN is not set")
    with pytest.raises(DatabaseAway):
        pending(f"postgresql://nobody@127.0.0.1:{port}/edge")
