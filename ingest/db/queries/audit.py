"""Queries on the audit log, which is only ever added to."""

from datetime import datetime
from typing import NamedTuple

from psycopg.types.json import Jsonb

from ingest.db.database import Connection
from ingest.db.rows import AuditEvent, change, fetch_all


class AuditFilter(NamedTuple):
    """Which audit events are asked for; None leaves a member open. Times: `since` included, `until` not."""

    organization_id: str | None = None
    action: str | None = None
    actor: str | None = None
    target_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def insert_audit_event(connection: Connection, event: AuditEvent) -> None:
    """Write down what was done."""
    await change(
        connection,
        """
        INSERT INTO audit_events
            (id, at, organization_id, actor, action, target_type, target_id, reason, request_id, details)
        VALUES (%(id)s, %(at)s, %(organization_id)s, %(actor)s, %(action)s, %(target_type)s, %(target_id)s, %(reason)s,
            %(request_id)s, %(details)s)
        """,
        {
            "id": event.id,
            "at": event.at,
            "organization_id": event.organization_id,
            "actor": event.actor,
            "action": event.action,
            "target_type": event.target_type,
            "target_id": event.target_id,
            "reason": event.reason,
            "request_id": event.request_id,
            "details": Jsonb(event.details),
        },
    )


async def list_audit_events(
    connection: Connection, asked: AuditFilter, *, before: tuple[datetime, str] | None = None, rows_max: int
) -> list[AuditEvent]:
    """Return audit events, newest first, from behind the place `before` (time and id)."""
    at, event_id = before or (None, None)
    return await fetch_all(
        connection,
        AuditEvent,
        """
        SELECT id, at, organization_id, actor, action, target_type, target_id, reason, request_id, details
        FROM audit_events
        WHERE (%(organization_id)s::text IS NULL OR organization_id = %(organization_id)s)
            AND (%(action)s::text IS NULL OR action = %(action)s)
            AND (%(actor)s::text IS NULL OR actor = %(actor)s)
            AND (%(target_id)s::text IS NULL OR target_id = %(target_id)s)
            AND (%(since)s::timestamptz IS NULL OR at >= %(since)s)
            AND (%(until)s::timestamptz IS NULL OR at < %(until)s)
            AND (%(at)s::timestamptz IS NULL OR (at, id) < (%(at)s, %(event_id)s::text))
        ORDER BY at DESC, id DESC LIMIT %(rows_max)s
        """,
        {**asked._asdict(), "at": at, "event_id": event_id, "rows_max": rows_max},
    )
