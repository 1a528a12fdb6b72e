"""Queries on the outbox: messages that must reach somebody, one row for each recipient."""

from typing import Any, Literal, NamedTuple

import msgspec
from psycopg.types.json import Jsonb

from ingest.db.database import Connection
from ingest.db.rows import change, fetch_all


class DueMessage(msgspec.Struct, frozen=True):
    """A message for one recipient that is to be tried now; `contact` is that of its organization, if it has one."""

    id: str
    message_id: str
    recipient: Literal["support", "organization"]
    organization_id: str | None
    contact: str | None
    payload: dict[str, Any]
    attempts: int


class Backlog(NamedTuple):
    """How many messages have not been delivered yet, and the age of the oldest in seconds."""

    undelivered: int
    oldest_s: float


async def insert_message(
    connection: Connection, message_id: str, organization_id: str | None, payload: dict[str, Any]
) -> None:
    """Add a message for the support and for the organization that it concerns, or with None for every organization."""
    await change(
        connection,
        """
        INSERT INTO outbox (id, message_id, recipient, organization_id, payload)
        VALUES (%(id)s, %(message_id)s, 'support', %(organization_id)s, %(payload)s)
        """,
        {
            "id": f"{message_id}.support",
            "message_id": message_id,
            "organization_id": organization_id,
            "payload": Jsonb(payload),
        },
    )
    await change(
        connection,
        """
        INSERT INTO outbox (id, message_id, recipient, organization_id, payload)
        SELECT %(message_id)s || '.' || id, %(message_id)s, 'organization', id, %(payload)s
        FROM organizations WHERE %(organization_id)s::text IS NULL OR id = %(organization_id)s
        """,
        {"message_id": message_id, "organization_id": organization_id, "payload": Jsonb(payload)},
    )


async def backlog(connection: Connection) -> Backlog:
    """Count what somebody has not been told yet."""
    async with connection.cursor() as cursor:
        await cursor.execute(
            """
            SELECT count(*), coalesce(extract(epoch FROM now() - min(created_at)), 0)
            FROM outbox WHERE delivered_at IS NULL
            """
        )
        row = await cursor.fetchone()
        assert row is not None
        return Backlog(row[0], float(row[1]))


async def claim_due(connection: Connection, *, rows_max: int, lease_s: float) -> list[DueMessage]:
    """Return messages that are due, and keep them from others for `lease_s`: new ones first, of these the support's.

    One that is not marked until then is due again, so that a process that dies leaves none behind.
    """
    return await fetch_all(
        connection,
        DueMessage,
        """
        WITH due AS (
            SELECT id FROM outbox WHERE delivered_at IS NULL AND next_attempt_at <= now()
            ORDER BY attempts > 0, recipient <> 'support', next_attempt_at, id LIMIT %(rows_max)s
            FOR UPDATE SKIP LOCKED
        ), claimed AS (
            UPDATE outbox SET next_attempt_at = now() + make_interval(secs => %(lease_s)s)
            FROM due WHERE outbox.id = due.id
            RETURNING outbox.id, message_id, recipient, organization_id, payload, attempts
        )
        SELECT claimed.id, message_id, recipient, organization_id, contact, payload, attempts
        FROM claimed LEFT JOIN organizations ON organizations.id = organization_id
        """,
        {"rows_max": rows_max, "lease_s": lease_s},
    )


async def mark_delivered(connection: Connection, row_id: str) -> None:
    """Write down that the recipient took the message: it is not tried again."""
    await change(
        connection,
        """
        UPDATE outbox SET delivered_at = now(), attempts = attempts + 1, last_failure = NULL
        WHERE id = %(id)s AND delivered_at IS NULL
        """,
        {"id": row_id},
    )


async def mark_failed(connection: Connection, message: DueMessage, failure: str, *, delay_s: float) -> None:
    """Write down why an attempt failed, and when the next one is due; nothing where somebody else tried meanwhile."""
    await change(
        connection,
        """
        UPDATE outbox SET attempts = attempts + 1, last_failure = %(failure)s,
            next_attempt_at = now() + make_interval(secs => %(delay_s)s)
        WHERE id = %(id)s AND attempts = %(attempts)s AND delivered_at IS NULL
        """,
        {"id": message.id, "attempts": message.attempts, "failure": failure, "delay_s": delay_s},
    )
