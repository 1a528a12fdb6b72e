"""Queries by which an erasure is asked for and looked at. None gives back whom it is about."""

from collections.abc import Sequence
from typing import Final, LiteralString

from ingest.db.database import Connection
from ingest.db.rows import ErasureRow, change, fetch_all, fetch_one

_SELECT: Final[LiteralString] = """
    SELECT e.id, e.organization_id, e.project_id,
        CASE WHEN e.completed_at IS NOT NULL THEN 'completed' WHEN e.published_at IS NOT NULL THEN 'published'
            ELSE 'accepted' END AS status,
        e.requested_at, e.published_at, e.completed_at, e.events_erased, e.user_properties_erased, e.consents_erased
    FROM erasures e
"""


async def insert_erasure(
    connection: Connection, *, erasure_id: str, organization_id: str, project_id: str, subjects: Sequence[str]
) -> ErasureRow:
    """Add an erasure of all who have one of these ids or digests, as of this moment."""
    await change(
        connection,
        # Records carry milliseconds, and what was received in this very one is covered.
        """
        INSERT INTO erasures (id, organization_id, project_id, subjects, requested_at)
        VALUES (%(id)s, %(organization_id)s, %(project_id)s, %(subjects)s::text[],
            date_trunc('milliseconds', clock_timestamp()))
        """,
        {"id": erasure_id, "organization_id": organization_id, "project_id": project_id, "subjects": list(subjects)},
    )
    row = await find_erasure(connection, erasure_id)
    assert row is not None
    return row


async def insert_erased_subjects(connection: Connection, erasure: ErasureRow, subjects: Sequence[str]) -> None:
    """Remember who is erased; `subjects` as `ingest.erasure.subject_of` tells them."""
    await change(
        connection,
        """
        INSERT INTO erased_subjects (project_id, subject, erasure_id, received_until)
        SELECT %(project_id)s, subject, %(erasure_id)s, %(received_until)s FROM unnest(%(subjects)s::text[]) subject
        """,
        {
            "project_id": erasure.project_id,
            "erasure_id": erasure.id,
            "received_until": erasure.requested_at,
            "subjects": list(subjects),
        },
    )


async def find_erasure(
    connection: Connection, erasure_id: str, *, organization_id: str | None = None, project_id: str | None = None
) -> ErasureRow | None:
    """Return an erasure, or None; with an organization or a project only where it is one of theirs."""
    return await fetch_one(
        connection,
        ErasureRow,
        _SELECT
        + """
        WHERE e.id = %(id)s AND (%(organization_id)s::text IS NULL OR e.organization_id = %(organization_id)s)
            AND (%(project_id)s::text IS NULL OR e.project_id = %(project_id)s)
        """,
        {"id": erasure_id, "organization_id": organization_id, "project_id": project_id},
    )


async def latest_erasure(connection: Connection, project_id: str, subject: str) -> ErasureRow | None:
    """Return the erasure of somebody that was asked for last, or None; `subject` as `subject_of` tells it."""
    return await fetch_one(
        connection,
        ErasureRow,
        _SELECT
        + """
        JOIN erased_subjects s ON s.erasure_id = e.id
        WHERE s.project_id = %(project_id)s AND s.subject = %(subject)s ORDER BY s.number DESC LIMIT 1
        """,
        {"project_id": project_id, "subject": subject},
    )


async def list_erasures(connection: Connection, project_id: str | None, *, rows_max: int) -> list[ErasureRow]:
    """Return erasures, newest first; without a project those of all."""
    return await fetch_all(
        connection,
        ErasureRow,
        _SELECT
        + """
        WHERE %(project_id)s::text IS NULL OR e.project_id = %(project_id)s
        ORDER BY e.requested_at DESC, e.id DESC LIMIT %(rows_max)s
        """,
        {"project_id": project_id, "rows_max": rows_max},
    )
