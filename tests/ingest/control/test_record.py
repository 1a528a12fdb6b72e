"""Who acts, and the audit event that every change leaves in its transaction."""

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from ulid import ULID

from ingest.control.record import ACTOR_CHARACTERS_MAX, Actor, Conflict, ControlError, Deed, Unknown, new_id, record
from ingest.db.database import Connection
from ingest.db.migrate import migrate
from ingest.db.rows import AuditEvent
from tests.support.control import execute, operate

DEED = Deed("app", "killed", "app_a", None)
COLUMNS = ", ".join(AuditEvent.__struct_fields__)


@pytest.fixture
def migrated(database: str) -> str:
    """Provide a database with a schema."""
    migrate(database)
    return database


def written(dsn: str) -> list[AuditEvent]:
    """Return the audit log."""
    select: Any = f"SELECT {COLUMNS} FROM audit_events ORDER BY at, id"  # noqa: S608 - our own names
    return [AuditEvent(*row) for row in execute(dsn, select)]


def test_actors_are_told_apart_by_their_names() -> None:
    """A partner acts by a key in a call, an operator by a name that fits its column, a process by its own."""
    assert Actor.operator("kim") == ("operator:kim", None)
    assert Actor.system("persist") == ("system:persist", None)
    assert Actor.key("01J", "req_1") == ("key:01J", "req_1")
    assert len(Actor.operator("k" * 1_000).name) == ACTOR_CHARACTERS_MAX


def test_ids_are_a_prefix_and_a_ulid_and_never_the_same() -> None:
    """Ids can be told apart by what they name, and sorted by their age."""
    made = [new_id("org") for _ in range(1_000)]

    assert len(set(made)) == len(made)
    assert all(each.startswith("org_") and ULID.from_str(each[4:]) for each in made)


def test_what_is_written_is_what_is_returned(migrated: str) -> None:
    """Every member arrives in the row, with the time of the deed."""
    execute(migrated, "INSERT INTO organizations (id, name, contact) VALUES ('org_a', 'A', 'a@a.example')")

    async def work(connection: Connection) -> tuple[AuditEvent, AuditEvent]:
        deed = Deed("key", "rotated", "01J", "org_a")
        full = await record(connection, Actor.key("01K", "req_1"), deed, reason="lost", details={"scopes": ["a"]})
        return full, await record(connection, Actor.operator("kim"), DEED)

    full, plain = operate(migrated, work)

    assert written(migrated) == [full, plain]
    assert (full.action, full.target_type, full.target_id, full.organization_id) == (
        "key.rotated",
        "key",
        "01J",
        "org_a",
    )
    assert (full.actor, full.request_id, full.reason, full.details) == ("key:01K", "req_1", "lost", {"scopes": ["a"]})
    assert (plain.action, plain.actor, plain.request_id, plain.reason, plain.details) == (
        "app.killed",
        "operator:kim",
        None,
        None,
        {},
    )
    assert full.id.startswith("aud_")
    assert abs(datetime.now(UTC) - full.at) < timedelta(minutes=1)


def test_an_event_goes_with_its_transaction(migrated: str) -> None:
    """What is rolled back was never done."""

    async def work(connection: Connection) -> None:
        await record(connection, Actor.operator("kim"), DEED)
        raise Conflict("no")

    with pytest.raises(ControlError, match="no"):
        operate(migrated, work)

    assert written(migrated) == []


def test_an_event_of_nobody_known_is_refused(migrated: str) -> None:
    """No event can name an organization that does not exist."""

    async def work(connection: Connection) -> None:
        await record(connection, Actor.operator("kim"), Deed("app", "created", "app_a", "org_none"))

    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        operate(migrated, work)

    assert written(migrated) == []


@pytest.mark.parametrize("reason", ["", "r" * 501])
def test_a_reason_is_bounded(migrated: str, reason: str) -> None:
    """The database itself refuses a reason that says nothing or too much."""

    async def work(connection: Connection) -> None:
        await record(connection, Actor.operator("kim"), DEED, reason=reason)

    with pytest.raises(psycopg.errors.CheckViolation):
        operate(migrated, work)

    assert written(migrated) == []


def test_refusals_are_told_apart() -> None:
    """What is not there and what does not go are two things, and both are for an operator to read."""
    assert issubclass(Unknown, ControlError)
    assert issubclass(Conflict, ControlError)
    assert not issubclass(Unknown, Conflict)
