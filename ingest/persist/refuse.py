"""Keeps out what comes late of those who are erased."""

from collections.abc import Sequence

from ingest.db.database import Connection
from ingest.db.queries.erasing import Claim, keep_erasers_away, latest_erasure, refused
from ingest.erasure import subjects_in, until_text
from ingest.persist.row import Row, envelope
from ingest.transport.contract import Delivered


async def without_erased(
    connection: Connection, rows: Sequence[tuple[Delivered, Row]]
) -> Sequence[tuple[Delivered, Row]]:
    """Return the rows of those who are not erased, and let nobody be erased until the transaction at hand ends.

    As a rule everything was received after the latest erasure, and then nothing is looked at.
    """
    await keep_erasers_away(connection)
    latest = await latest_erasure(connection)
    if latest is None:
        return rows
    until = until_text(latest)
    claims = [
        Claim(number, row.project_id, row.received_at, subjects_in(envelope(record)[1]))
        for number, (record, row) in enumerate(rows)
        if row.received_at <= until
    ]
    theirs = await refused(connection, claims) if claims else set()
    return [each for number, each in enumerate(rows) if number not in theirs] if theirs else rows
