"""Keeps out what comes late of those who are erased."""

from collections.abc import Sequence

from ingest.db.database import Connection
from ingest.db.queries.erasing import Claim, keep_erasers_away, latest_erasure, refused
from ingest.erasure import subjects_in, until_text
from ingest.persist.batch import Made
from ingest.persist.row import envelope


async def erased_until(connection: Connection) -> str:
    """Return up to when what was received may be of somebody who is erased; empty where nobody is.

    As a rule all was received later. Nobody more is erased until the transaction at hand ends.
    """
    await keep_erasers_away(connection)
    latest = await latest_erasure(connection)
    return "" if latest is None else until_text(latest)


async def without_erased(connection: Connection, rows: Sequence[Made]) -> Sequence[Made]:
    """Return the rows of those who are not erased."""
    claims = [
        Claim(number, row.project_id, row.received_at, subjects_in(envelope(record)[1]))
        for number, (record, row) in enumerate(rows)
    ]
    theirs = await refused(connection, claims) if claims else set()
    return [each for number, each in enumerate(rows) if number not in theirs]
