"""What the logins of edge, messenger, persisting and forwarding process can do, tried: what they need, and no more."""

import datetime as dt
from typing import LiteralString

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege, RaiseException

from ingest.db.migrate import migrate
from tests.integration.edge import await_true
from tests.integration.partner import Partner, Site, Tenant, await_app

TABLES = (
    *("organizations", "projects", "apps", "api_keys", "kill_switches", "audit_events", "outbox", "request_log"),
    *("registry_version", "alembic_version", "events", "consumer_positions", "user_properties", "consents"),
    *("erasures", "erased_subjects", "vault_secrets", "deliveries", "forward_destinations", "forward_workers"),
    *("skan_postbacks", "clicks"),
)

SERVING_MAY: tuple[LiteralString, ...] = (
    "SELECT * FROM organizations",
    "SELECT * FROM projects",
    "SELECT * FROM apps",
    "SELECT * FROM api_keys",
    "SELECT * FROM api_keys FOR UPDATE",
    "SELECT * FROM kill_switches",
    "SELECT * FROM registry_version",
    "SELECT * FROM audit_events",
    "SELECT created_at, delivered_at FROM outbox",
    "UPDATE api_keys SET kill_switch = true",
    "UPDATE api_keys SET is_active = false, revoked_at = now()",
    "UPDATE api_keys SET secret_hash = secret_hash, rotated_at = now()",
    "INSERT INTO audit_events (id, actor, action, target_type, target_id) VALUES ('aud_1', 'a', 'b', 'c', 'd')",
    "INSERT INTO outbox (id, message_id, recipient, payload) VALUES ('msg_1', 'msg_1', 'support', '{}')",
    """
    INSERT INTO request_log (at, request_id, route, method, status, latency_ms, request_bytes, response_bytes)
    VALUES (now(), 'req_1', '/v1/events', 'POST', 202, 1, 1, 1)
    """,
    "SELECT make_day_partition('request_log', current_date)",
    "SELECT make_day_partition('request_log', current_date + 7)",
    "LISTEN ingest_registry",
    "SELECT * FROM events",
    "SELECT * FROM user_properties",
    "SELECT * FROM consents",
    "SELECT * FROM erasures",
    "SELECT * FROM erased_subjects",
    "INSERT INTO erasures (id, organization_id, project_id, subjects) VALUES ('era_1', 'o', 'p', '{u-1}')",
    """
    INSERT INTO erased_subjects (project_id, subject, erasure_id, received_until)
    VALUES ('p', encode(sha256('u-1'), 'hex'), 'era_1', now())
    """,
)

NOTIFY_MAY: tuple[LiteralString, ...] = (
    "SELECT * FROM outbox",
    "SELECT * FROM outbox FOR UPDATE SKIP LOCKED",
    "SELECT * FROM organizations",
    "UPDATE outbox SET attempts = 1, next_attempt_at = now(), delivered_at = now(), last_failure = 'x'",
)

RETENTION: tuple[LiteralString, ...] = (
    "SELECT drop_day_partition('events', current_date - 40, false)",
    "SELECT drop_day_partition('request_log', current_date - 40, true)",
    "SELECT delete_old_rows('audit_events', 731, 10)",
    "SELECT delete_old_rows('outbox', 30, 10)",
    "SELECT delete_old_rows('erasures', 731, 10)",
    "SELECT delete_old_rows('erased_subjects', 731, 10)",
    "SELECT delete_old_rows('deliveries', 30, 10)",
    "DELETE FROM events_default",
)

PERSIST_MAY: tuple[LiteralString, ...] = (
    *RETENTION,
    "SELECT * FROM events",
    "SELECT * FROM events_default",
    "DELETE FROM events",
    "SELECT * FROM consumer_positions FOR UPDATE",
    "SELECT id, events_retention_days FROM projects",
    "SELECT make_day_partition('events', current_date - 399)",
    "INSERT INTO audit_events (id, actor, action, target_type, target_id) VALUES ('aud_3', 'a', 'b', 'c', 'd')",
    "DELETE FROM user_properties",
    "DELETE FROM consents",
    "SELECT * FROM skan_postbacks",
    "DELETE FROM skan_postbacks",
    "SELECT * FROM clicks",
    "DELETE FROM clicks",
    "SELECT * FROM erasures",
    "SELECT * FROM erased_subjects",
)

FORWARD_MAY: tuple[LiteralString, ...] = (
    "SELECT * FROM organizations",
    "SELECT * FROM projects",
    "SELECT * FROM apps",
    "SELECT * FROM kill_switches",
    "SELECT * FROM registry_version",
    "SELECT * FROM vault_secrets",
    "SELECT * FROM user_properties",
    "SELECT * FROM consents",
    "SELECT * FROM erasures",
    "SELECT * FROM erased_subjects",
    "SELECT * FROM alembic_version",
    "SELECT * FROM deliveries",
    """
    INSERT INTO deliveries (app_id, event_id, event_at, platform, fate) VALUES ('a', 'b', 'c', 'meta', 'sent')
    ON CONFLICT DO NOTHING
    """,
    "INSERT INTO forward_destinations (app_id, platform, state) VALUES ('a', 'meta', 'paused')",
    "SELECT * FROM forward_destinations FOR UPDATE",
    "UPDATE forward_destinations SET state = 'healthy', since = now(), last_success_at = now(), seen_at = now()",
    "DELETE FROM forward_destinations",
    "INSERT INTO forward_workers (id, lag_records, parked_records) VALUES ('w', 0, 0)",
    "UPDATE forward_workers SET lag_records = 1, seen_at = now()",
    "DELETE FROM forward_workers",
    "INSERT INTO audit_events (id, actor, action, target_type, target_id) VALUES ('aud_4', 'a', 'b', 'c', 'd')",
    "INSERT INTO outbox (id, message_id, recipient, payload) VALUES ('msg_4', 'msg_4', 'support', '{}')",
    "LISTEN ingest_registry",
)

NOBODY_MAY: tuple[LiteralString, ...] = (
    "CREATE TABLE mine (a int)",
    "CREATE TABLE mine AS SELECT 1",
    "CREATE SCHEMA mine",
    "CREATE VIEW mine AS SELECT 1",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE EXTENSION pg_trgm",
    "CREATE ROLE mine",
    "CREATE TRIGGER mine BEFORE INSERT ON outbox EXECUTE FUNCTION raise_registry_version()",
    "ALTER TABLE api_keys ADD COLUMN mine text",
    "ALTER TABLE api_keys DISABLE TRIGGER ALL",
    "ALTER ROLE ingest_serving SUPERUSER",
    "DROP TABLE request_log",
    "DROP FUNCTION make_day_partition",
    "CREATE INDEX ON api_keys (name)",
    "COMMENT ON TABLE api_keys IS 'mine'",
    "LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE",
    "GRANT ingest_notify TO ingest_serving",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION postgres",
    "COPY api_keys TO PROGRAM 'cat'",
    "COPY api_keys TO '/dev/null'",
    "SELECT pg_read_file('postgresql.conf')",
    "SELECT rolpassword FROM pg_authid",
    "SELECT raise_registry_version()",
    "INSERT INTO organizations (id, name, contact) VALUES ('org_x', 'x', 'x@y.z')",
    "INSERT INTO projects (id, organization_id, name) SELECT 'prj_x', id, 'x' FROM organizations",
    "INSERT INTO apps (id, project_id, name) VALUES ('app_x', 'prj_x', 'x')",
    "INSERT INTO api_keys SELECT * FROM api_keys",
    "INSERT INTO api_keys (id) VALUES ('x')",
    "INSERT INTO kill_switches (scope, reason, actor) VALUES ('global', 'x', 'x')",
    "INSERT INTO registry_version VALUES (true, 1)",
    "UPDATE organizations SET contact = 'x@y.z'",
    "UPDATE organizations SET name = 'x'",
    "UPDATE projects SET organization_id = 'x'",
    "UPDATE apps SET kill_switch = false",
    "UPDATE apps SET options = '{}'",
    "UPDATE api_keys SET scopes = '{}'",
    "UPDATE api_keys SET tier = 'partner'",
    "UPDATE api_keys SET env = 'live'",
    "UPDATE api_keys SET organization_id = 'x'",
    "UPDATE api_keys SET id = 'x'",
    "UPDATE api_keys SET created_at = now()",
    "UPDATE kill_switches SET reason = 'x'",
    "UPDATE audit_events SET reason = 'x'",
    "UPDATE audit_events SET at = now()",
    "UPDATE outbox SET payload = '{}'",
    "UPDATE outbox SET recipient = 'support'",
    "UPDATE outbox SET created_at = now()",
    "UPDATE request_log SET status = 200",
    "UPDATE registry_version SET version = 0",
    "UPDATE projects SET events_retention_days = 30",
    "SELECT * FROM request_log",
    *(f"DELETE FROM {table}" for table in TABLES),  # noqa: S608 - names of tables, from above
    *(f"TRUNCATE {table}" for table in TABLES),
)

FORWARDING: tuple[LiteralString, ...] = (
    "SELECT * FROM vault_secrets",
    "SELECT sealed FROM vault_secrets",
    "SELECT id FROM vault_secrets",
    "SELECT app_id FROM deliveries",
    "SELECT app_id FROM forward_destinations",
    "SELECT id FROM forward_workers",
)

SERVING_MAY_NOT: tuple[LiteralString, ...] = (
    *RETENTION,
    "SELECT payload FROM outbox",
    "SELECT id FROM outbox",
    "SELECT * FROM outbox",
    "UPDATE outbox SET delivered_at = now()",
    "INSERT INTO events SELECT * FROM events",
    "INSERT INTO user_properties SELECT * FROM user_properties",
    "INSERT INTO consents SELECT * FROM consents",
    "UPDATE events SET event = '{}'",
    "UPDATE user_properties SET value = '1'",
    "UPDATE consents SET value = 'true'",
    "UPDATE erasures SET completed_at = now()",
    "UPDATE erasures SET subjects = '{}'",
    "UPDATE erased_subjects SET received_until = now()",
    "SELECT * FROM consumer_positions",
    *FORWARDING,
    "SET ROLE ingest_notify",
    "SET ROLE ingest_persist",
    "SET ROLE ingest_forward",
)

NOTIFY_MAY_NOT: tuple[LiteralString, ...] = (
    *RETENTION,
    *FORWARDING,
    "SELECT * FROM api_keys",
    "SELECT secret_hash FROM api_keys",
    "SELECT * FROM projects",
    "SELECT * FROM apps",
    "SELECT * FROM kill_switches",
    "SELECT * FROM audit_events",
    "SELECT * FROM events",
    "SELECT * FROM user_properties",
    "SELECT * FROM consents",
    "SELECT * FROM erasures",
    "SELECT * FROM erased_subjects",
    "INSERT INTO erasures (id, organization_id, project_id, subjects) VALUES ('era_1', 'o', 'p', '{u-1}')",
    "UPDATE api_keys SET kill_switch = false",
    "UPDATE outbox SET organization_id = 'x'",
    "INSERT INTO outbox (id, message_id, recipient, payload) VALUES ('msg_2', 'msg_2', 'support', '{}')",
    "INSERT INTO audit_events (id, actor, action, target_type, target_id) VALUES ('aud_2', 'a', 'b', 'c', 'd')",
    "INSERT INTO request_log (request_id) VALUES ('x')",
    "SELECT make_day_partition('request_log', current_date)",
    "SET ROLE ingest_serving",
)

PERSIST_MAY_NOT: tuple[LiteralString, ...] = (
    *FORWARDING,
    *(statement for statement in NOBODY_MAY if statement not in PERSIST_MAY),
    "SELECT * FROM api_keys",
    "SELECT * FROM projects",
    "SELECT name FROM projects",
    "SELECT * FROM audit_events",
    "SELECT * FROM outbox",
    "SELECT * FROM organizations",
    "UPDATE events SET name = 'x'",
    "UPDATE erased_subjects SET received_until = now()",
    "INSERT INTO outbox (id, message_id, recipient, payload) VALUES ('msg_3', 'msg_3', 'support', '{}')",
    "SET ROLE ingest_serving",
    "SET ROLE ingest_forward",
)

FORWARD_MAY_NOT: tuple[LiteralString, ...] = (
    *RETENTION,
    *(statement for statement in NOBODY_MAY if statement not in FORWARD_MAY),
    "SELECT * FROM api_keys",
    "SELECT id FROM api_keys",
    "SELECT * FROM events",
    "SELECT * FROM events_default",
    "SELECT * FROM audit_events",
    "SELECT * FROM outbox",
    "SELECT * FROM consumer_positions",
    "UPDATE vault_secrets SET sealed = 'x'",
    "UPDATE vault_secrets SET app_id = 'x'",
    "INSERT INTO vault_secrets SELECT * FROM vault_secrets",
    "SELECT * FROM vault_secrets FOR UPDATE",
    "UPDATE deliveries SET fate = 'skipped'",
    "UPDATE deliveries SET recorded_at = now()",
    "SELECT delete_old_rows('deliveries', 30, 10)",
    "INSERT INTO user_properties SELECT * FROM user_properties",
    "INSERT INTO consents SELECT * FROM consents",
    "UPDATE consents SET value = 'true'",
    "INSERT INTO erasures (id, organization_id, project_id, subjects) VALUES ('era_1', 'o', 'p', '{u-1}')",
    "UPDATE erased_subjects SET received_until = now()",
    "INSERT INTO request_log (request_id) VALUES ('x')",
    "INSERT INTO kill_switches (scope, platform, reason, actor) VALUES ('platform', 'meta', 'x', 'x')",
    "SELECT make_day_partition('events', current_date)",
    "SET ROLE ingest_serving",
    "SET ROLE ingest_persist",
    "SET ROLE ingest_notify",
)


@pytest.fixture(scope="module")
def tenant(one_worker: Site) -> Tenant:
    """Provide an organization with a key, so that every statement has rows to touch."""
    tenant = one_worker.operators.tenant()
    one_worker.operators.key(tenant.organization_id)
    await_app(one_worker, tenant.app_id)
    return tenant


def attempt(dsn: str, statement: LiteralString) -> None:
    """Try a statement and take it back."""
    with psycopg.connect(dsn) as connection:
        connection.execute(statement)
        connection.rollback()


@pytest.mark.usefixtures("tenant")
@pytest.mark.parametrize("statement", SERVING_MAY)
def test_serving_may(one_worker: Site, statement: LiteralString) -> None:
    """What the edge does is allowed to its login."""
    one_worker.operators.run("SELECT make_day_partition('request_log', current_date)")
    attempt(one_worker.store.serving, statement)

    assert one_worker.operators.run("SELECT FROM audit_events WHERE id = 'aud_1'") == []


@pytest.mark.usefixtures("tenant")
@pytest.mark.parametrize("statement", [*NOBODY_MAY, *SERVING_MAY_NOT])
def test_serving_may_not(one_worker: Site, statement: LiteralString) -> None:
    """Everything else is refused by the database itself."""
    with pytest.raises(InsufficientPrivilege):
        attempt(one_worker.store.serving, statement)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "UPDATE api_keys SET kill_switch = true WHERE id = %s",
            "UPDATE api_keys SET kill_switch = false WHERE id = %s",
        ),
        ("UPDATE api_keys SET is_active = false WHERE id = %s", "UPDATE api_keys SET is_active = true WHERE id = %s"),
        ("UPDATE api_keys SET revoked_at = now() WHERE id = %s", "UPDATE api_keys SET revoked_at = NULL WHERE id = %s"),
    ],
)
def test_serving_cannot_turn_back(
    one_worker: Site, tenant: Tenant, before: LiteralString, after: LiteralString
) -> None:
    """What serving has switched off it cannot switch on again: only an operator lifts, and revocation is permanent."""
    key_id = one_worker.operators.key(tenant.organization_id).key_id
    with psycopg.connect(one_worker.store.serving, autocommit=True) as serving:
        serving.execute(before, (key_id,))
        with pytest.raises(InsufficientPrivilege):
            serving.execute(after, (key_id,))
    one_worker.operators.run(after, key_id)


@pytest.mark.usefixtures("tenant")
@pytest.mark.parametrize("statement", NOTIFY_MAY)
def test_notify_may(one_worker: Site, statement: LiteralString) -> None:
    """What the messenger does is allowed to its login."""
    attempt(one_worker.store.notify, statement)

    assert one_worker.operators.run("SELECT FROM outbox WHERE last_failure = 'x'") == []


@pytest.mark.usefixtures("tenant")
@pytest.mark.parametrize("statement", [*NOBODY_MAY, *NOTIFY_MAY_NOT])
def test_notify_may_not(one_worker: Site, statement: LiteralString) -> None:
    """Everything else is refused by the database itself."""
    with pytest.raises(InsufficientPrivilege):
        attempt(one_worker.store.notify, statement)


@pytest.mark.usefixtures("tenant")
@pytest.mark.parametrize("statement", PERSIST_MAY)
def test_persist_may(one_worker: Site, statement: LiteralString) -> None:
    """What the persisting process does is allowed to its login."""
    attempt(one_worker.store.persist, statement)

    assert one_worker.operators.run("SELECT FROM audit_events WHERE id = 'aud_3'") == []


@pytest.mark.usefixtures("tenant")
@pytest.mark.parametrize("statement", PERSIST_MAY_NOT)
def test_persist_may_not(one_worker: Site, statement: LiteralString) -> None:
    """Everything else is refused by the database itself."""
    with pytest.raises(InsufficientPrivilege):
        attempt(one_worker.store.persist, statement)


@pytest.mark.usefixtures("tenant")
@pytest.mark.parametrize("statement", FORWARD_MAY)
def test_forward_may(one_worker: Site, statement: LiteralString) -> None:
    """What the forwarding process does is allowed to its login."""
    attempt(one_worker.store.forward, statement)

    assert one_worker.operators.run("SELECT FROM audit_events WHERE id = 'aud_4'") == []


@pytest.mark.usefixtures("tenant")
@pytest.mark.parametrize("statement", FORWARD_MAY_NOT)
def test_forward_may_not(one_worker: Site, statement: LiteralString) -> None:
    """Everything else is refused by the database itself."""
    with pytest.raises(InsufficientPrivilege):
        attempt(one_worker.store.forward, statement)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT drop_day_partition('events', (now() AT TIME ZONE 'UTC')::date - 30, false)",
        "SELECT drop_day_partition('events', (now() AT TIME ZONE 'UTC')::date - 30, true)",
        "SELECT drop_day_partition('request_log', (now() AT TIME ZONE 'UTC')::date - 30, false)",
        "SELECT drop_day_partition('events', (now() AT TIME ZONE 'UTC')::date, false)",
        "SELECT drop_day_partition('audit_events', current_date - 400, false)",
        "SELECT drop_day_partition('events_default', current_date - 400, false)",
        "SELECT drop_day_partition('events; DROP TABLE outbox', current_date - 400, false)",
        "SELECT delete_old_rows('audit_events', 730, 10)",
        "SELECT delete_old_rows('audit_events', NULL, 10)",
        "SELECT delete_old_rows('erasures', 730, 10)",
        "SELECT delete_old_rows('erased_subjects', 730, 10)",
        "SELECT delete_old_rows('outbox', 29, 10)",
        "SELECT delete_old_rows('deliveries', 29, 10)",
        "SELECT delete_old_rows('vault_secrets', 731, 10)",
        "SELECT delete_old_rows('outbox', -1, 10)",
        "SELECT delete_old_rows('outbox', 30, NULL)",
        "SELECT delete_old_rows('events', 731, 10)",
        "SELECT delete_old_rows('api_keys', 731, 10)",
        "SELECT delete_old_rows(NULL, 731, 10)",
    ],
)
def test_nothing_young_is_let_go_of(one_worker: Site, statement: LiteralString) -> None:
    """The rights that are lent for retention drop no day and delete no row before its least time."""
    with psycopg.connect(one_worker.store.persist) as connection, pytest.raises(RaiseException):
        connection.execute(statement)


def test_a_day_is_dropped_under_no_isolation_that_could_miss_a_row(one_worker: Site) -> None:
    """A look at what was committed before the lock would not do."""
    with psycopg.connect(one_worker.store.persist) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        with pytest.raises(RaiseException):
            connection.execute("SELECT drop_day_partition('events', current_date - 400, true)")


@pytest.mark.parametrize("parent", ["audit_events", "api_keys", "request_log; DROP TABLE outbox", "pg_class", ""])
def test_partitions_of_other_tables(one_worker: Site, parent: str) -> None:
    """The rights that are lent for making a day's partition make nothing else."""
    with psycopg.connect(one_worker.store.serving) as connection, pytest.raises(RaiseException):
        connection.execute("SELECT make_day_partition(%s, current_date)", (parent,))


@pytest.mark.parametrize("days", [-400, -2, 8, 400])
def test_partitions_of_other_days(one_worker: Site, days: int) -> None:
    """Nor do they fill the database with the days of years."""
    day = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=days)
    with psycopg.connect(one_worker.store.serving) as connection, pytest.raises(RaiseException):
        connection.execute("SELECT make_day_partition('request_log', %s)", (day,))


def test_the_lent_rights_trust_no_schema_of_the_caller(one_worker: Site) -> None:
    """Functions and tables that a caller puts in front are not taken for those of the schema."""
    with psycopg.connect(one_worker.store.serving) as connection:
        connection.execute("SET search_path = pg_temp, public")
        connection.execute("SELECT make_day_partition('request_log', current_date + 5)")
        ((owner, schema),) = connection.execute(
            """
            SELECT relowner = (SELECT relowner FROM pg_class WHERE oid = 'public.request_log'::regclass),
                relnamespace::regnamespace::text
            FROM pg_class WHERE relname = to_char(current_date + 5, '"request_log_"YYYYMMDD')
            """
        )
        connection.rollback()

    assert (owner, schema) == (True, "public")


def test_the_logins_have_no_rights_of_their_own(one_worker: Site) -> None:
    """Nothing comes with the roles but what is granted, and a login has one role alone."""
    found = one_worker.operators.run(
        """
        SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls, rolcanlogin
        FROM pg_roles WHERE rolname IN ('ingest_serving', 'ingest_notify', 'ingest_persist', 'ingest_forward')
        """
    )
    store = one_worker.store
    logins = {
        store.serving: "ingest_serving",
        store.notify: "ingest_notify",
        store.persist: "ingest_persist",
        store.forward: "ingest_forward",
    }
    for dsn, role in logins.items():
        with psycopg.connect(dsn) as connection:
            ((roles, may_connect_only),) = connection.execute(
                """
                SELECT array_agg(rolname::text) FILTER (WHERE rolname <> current_user),
                    NOT has_database_privilege(current_database(), 'CREATE')
                        AND NOT has_schema_privilege('public', 'CREATE')
                FROM pg_roles WHERE pg_has_role(rolname, 'MEMBER')
                """
            )
        assert (roles, may_connect_only) == ([role], True)

    assert found == [(False, False)] * 4


def test_nobody_may_create_in_a_schema_of_former_times(database: str) -> None:
    """A database from before PostgreSQL 15 lets everybody create things; the migration ends that."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
        migrate(database)
        ((may,),) = connection.execute("SELECT has_schema_privilege('ingest_serving', 'public', 'CREATE')")

    assert may is False


def test_each_table_is_named_here(one_worker: Site) -> None:
    """A new table comes with a decision on who may do what with it."""
    found = one_worker.operators.run(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
        " AND NOT relispartition"
    )

    assert {name for (name,) in found} == set(TABLES)


def test_the_edge_needs_no_more(one_worker: Site, tenant: Tenant) -> None:
    """The edge, which has exactly this login, answers every call and writes down all of it."""
    operators = one_worker.operators
    admin: Partner = one_worker.partner(caller := operators.key(tenant.organization_id))
    key = operators.key(tenant.organization_id)
    path = f"/v1/api-keys/{key.key_id}"
    event = {"name": "a", "occurredAt": "2026-11-24T10:00:00Z"}
    user = f"/v1/projects/{tenant.project_id}/events/users/u-1"
    erasing = admin.call("DELETE", user)
    answers = [
        admin.whoami(),
        admin.call("POST", "/v1/events", tenant.batch(event)),
        admin.call("GET", "/v1/api-keys"),
        admin.call("POST", f"{path}/kill"),
        admin.call("POST", f"{path}/rotate"),
        admin.call("DELETE", path),
        admin.call("GET", "/v1/audit-log"),
        admin.call("GET", user),
        admin.call("GET", erasing.json()["statusPath"]),
    ]
    answers.insert(0, erasing)
    login = one_worker.service.settings["INGEST_POSTGRES_DSN"]

    def written() -> list[tuple[str, int]]:
        return [
            (route, status)
            for route, status in operators.run(
                "SELECT route, status FROM request_log WHERE key_id = %s ORDER BY at", caller.key_id
            )
        ]

    await_true(lambda: len(written()) == len(answers), "all is written down")
    assert login == one_worker.store.serving
    assert [answer.status for answer in answers] == [202, 200, 202, *[200] * 7]
    assert [status for _, status in written()] == [answer.status for answer in answers]
    assert operators.actions(key.key_id) == ["key.created", "key.killed", "key.rotated", "key.revoked"]
