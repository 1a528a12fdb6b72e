"""The rows of the database as typed values, and how they are fetched."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, LiteralString, TypeVar

import msgspec
from psycopg import sql
from psycopg.rows import class_row

from ingest.db.database import Connection

Row = TypeVar("Row", bound=msgspec.Struct)
Env = Literal["live", "test"]
Parameters = Mapping[str, Any]
Query = LiteralString | sql.Composed


class Organization(msgspec.Struct, frozen=True):
    """Who sends, and whom to tell: `contact` is an e-mail address or an https URL."""

    id: str
    name: str
    contact: str
    created_at: datetime


class Project(msgspec.Struct, frozen=True):
    """Apps of one organization that belong together; `events_retention_days` is None where the default holds."""

    id: str
    organization_id: str
    name: str
    created_at: datetime
    events_retention_days: int | None


class AppRow(msgspec.Struct, frozen=True):
    """An app as it is kept; `options` are the optional members of the registry's `App`."""

    id: str
    project_id: str
    organization_id: str
    name: str
    environment: str | None
    options: dict[str, Any]
    is_active: bool
    kill_switch: bool
    created_at: datetime
    revoked_at: datetime | None


class Key(msgspec.Struct, frozen=True):
    """A partner's key without what it is checked against."""

    id: str
    organization_id: str
    env: Env
    name: str | None
    scopes: list[str]
    tier: str
    is_active: bool
    kill_switch: bool
    created_at: datetime
    rotated_at: datetime | None
    revoked_at: datetime | None

    @property
    def active(self) -> bool:
        """Whether the key has not been revoked, by either mark."""
        return self.is_active and self.revoked_at is None


class KeyStanding(msgspec.Struct, frozen=True):
    """All that the decision on one partner request needs, as of this moment; `known` false stands for no such key."""

    id: str
    known: bool
    organization_id: str
    organization_name: str
    env: Env
    secret_hash: str
    scopes: list[str]
    tier: str
    is_active: bool
    kill_switch: bool
    revoked_at: datetime | None
    organization_killed: bool
    global_killed: bool

    @property
    def active(self) -> bool:
        """Whether the key has not been revoked, by either mark."""
        return self.is_active and self.revoked_at is None


class KillSwitch(msgspec.Struct, frozen=True):
    """A switch above the single key or app that is on now."""

    scope: Literal["organization", "global", "platform"]
    organization_id: str | None
    platform: str | None
    reason: str
    actor: str
    turned_on_at: datetime


class AuditEvent(msgspec.Struct, frozen=True):
    """What was done, by whom, to what and why. It is written once and never changed."""

    id: str
    at: datetime
    organization_id: str | None
    actor: str
    action: str
    target_type: str
    target_id: str
    reason: str | None
    request_id: str | None
    details: dict[str, Any]


class ErasureRow(msgspec.Struct, frozen=True):
    """What was asked to be erased, and how far that has come; of whom it tells nothing."""

    id: str
    organization_id: str
    project_id: str
    status: Literal["accepted", "published", "completed"]
    requested_at: datetime
    published_at: datetime | None
    completed_at: datetime | None
    events_erased: int
    user_properties_erased: int
    consents_erased: int


class UserEvent(msgspec.Struct, frozen=True):
    """An event as it is read back: `event` and `meta` are JSON as stored, `occurred_at` is the client's own text.

    `candidates` is how many events the query found for the page, before its bound on bytes.
    """

    app_id: str
    event_id: str
    ts: str
    name: str
    occurred_at: str
    received_at: datetime
    event: str
    meta: str
    candidates: int


class UserStatement(msgspec.Struct, frozen=True):
    """What is kept of a user beside events: a property, or a choice of a consent; `value` is JSON as stored."""

    app_id: str
    user_kind: str
    name: str
    value: str
    set_at: datetime


async def fetch_all(
    connection: Connection, kind: type[Row], query: LiteralString, parameters: Parameters | None = None
) -> list[Row]:
    """Return all rows of a query."""
    async with connection.cursor(row_factory=class_row(kind)) as cursor:
        await cursor.execute(query, parameters)
        return await cursor.fetchall()


async def fetch_one(
    connection: Connection, kind: type[Row], query: LiteralString, parameters: Parameters | None = None
) -> Row | None:
    """Return the first row of a query, None where there is none."""
    async with connection.cursor(row_factory=class_row(kind)) as cursor:
        await cursor.execute(query, parameters)
        return await cursor.fetchone()


async def change(connection: Connection, statement: Query, parameters: Parameters | None = None) -> int:
    """Run a statement and return how many rows it touched."""
    async with connection.cursor() as cursor:
        await cursor.execute(statement, parameters)
        return cursor.rowcount
