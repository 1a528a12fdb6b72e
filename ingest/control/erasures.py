"""Erasures: asked for with a record of it, which does not tell whom. Another process executes them."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from ingest.control.record import Actor, Deed, new_id, record
from ingest.db.database import Connection
from ingest.db.queries.erasures import insert_erased_subjects, insert_erasure
from ingest.db.rows import ErasureRow, Project
from ingest.erasure import subject_of
from ingest.transport.contract import Topic
from ingest.transport.retention import RETENTION_MS

TOPICS_KEEP: Final = timedelta(milliseconds=RETENTION_MS[Topic.EVENTS])
"""How long a topic still holds what was received before a request: no single record can be deleted there."""


async def request_erasure(
    connection: Connection, actor: Actor, project: Project, subjects: Sequence[str], *, reason: str | None = None
) -> ErasureRow:
    """Ask for the erasure of all of a project that has one of `subjects`, ids or digests as they stand in rows.

    What is received later is new. Neither `reason` nor anything else that is written down may tell a subject.
    """
    distinct = list(dict.fromkeys(subjects))
    row = await insert_erasure(
        connection,
        erasure_id=new_id("era"),
        organization_id=project.organization_id,
        project_id=project.id,
        subjects=distinct,
    )
    await insert_erased_subjects(connection, row, [subject_of(each) for each in distinct])
    await record(
        connection,
        actor,
        Deed("erasure", "requested", row.id, project.organization_id),
        reason=reason,
        details={"projectId": project.id},
    )
    return row
