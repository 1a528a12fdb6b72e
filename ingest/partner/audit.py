"""`GET /v1/audit-log`: what was done to an organization's things, newest first."""

from datetime import datetime

from ingest.db.database import Database, DatabaseAway
from ingest.db.queries.audit import AuditFilter, list_audit_events
from ingest.errors import Code, Refusal
from ingest.partner.call import Answer, Call
from ingest.partner.fields import Fields, write_cursor
from ingest.partner.types import AuditEntry, AuditPage


class Audit:
    """The call on the audit log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_events(self, call: Call) -> Answer:
        """Answer with a page of audit events; `action`, `actor`, `targetId`, `since` and `until` narrow it."""
        fields = Fields(call.query)
        asked = AuditFilter(
            organization_id=call.key.organization_id,
            action=fields.text("action"),
            actor=fields.text("actor"),
            target_id=fields.text("targetId"),
            since=fields.time("since"),
            until=fields.time("until"),
        )
        rows_max, place = fields.page_size(), fields.cursor(2)
        before = _place(fields, place)
        fields.done()
        try:
            rows = await self._database.run(
                lambda connection: list_audit_events(connection, asked, before=before, rows_max=rows_max + 1)
            )
        except DatabaseAway:
            raise Refusal(Code.UNAVAILABLE) from None
        page = rows[:rows_max]
        following = write_cursor(page[-1].at.isoformat(), page[-1].id) if len(rows) > rows_max else None
        return Answer(200, AuditPage([AuditEntry.of(event) for event in page], following))


def _place(fields: Fields, parts: list[str] | None) -> tuple[datetime, str] | None:
    if parts is None:
        return None
    try:
        at = datetime.fromisoformat(parts[0])
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        fields.fault("cursor", "must be the `nextCursor` of an earlier answer")
        return None
    return at, parts[1]
