"""How long things are kept, and the run that lets go of the rest."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from ingest.db.database import Connection, Database
from ingest.db.queries.retention import (
    BATCH_ROWS,
    day_partitions,
    delete_audit_events,
    delete_delivered_messages,
    drop_table,
)

REQUEST_LOG_DAYS: Final = 30
AUDIT_DAYS: Final = 731
"""Two years, one of which may be a leap year."""

MESSAGE_DAYS: Final = 30
"""Days for which a message is kept after it was delivered."""


class Purged(NamedTuple):
    """What a run has let go of."""

    request_log_days: int
    audit_events: int
    messages: int


async def purge(database: Database, now: datetime, progress: Callable[[str], None] = lambda _: None) -> Purged:
    """Let go of everything that is old enough; may be stopped at any moment and run twice. Raises `DatabaseAway`."""
    oldest = now.astimezone(UTC).date() - timedelta(days=REQUEST_LOG_DAYS)
    partitions = await database.run(lambda connection: day_partitions(connection, "request_log"))
    old = [name for name, day in partitions if day < oldest]
    for name in old:
        progress(f"dropping {name}")
        await database.run(lambda connection, name=name: drop_table(connection, name))  # type: ignore[misc]
    progress("deleting old audit events and delivered messages")
    return Purged(
        len(old),
        await _in_batches(database, lambda connection: delete_audit_events(connection, AUDIT_DAYS)),
        await _in_batches(database, lambda connection: delete_delivered_messages(connection, MESSAGE_DAYS)),
    )


async def _in_batches(database: Database, delete: Callable[[Connection], Awaitable[int]]) -> int:
    """Delete batch by batch, so that no transaction is long."""
    total = 0
    while True:
        deleted = await database.run(delete)
        total += deleted
        if deleted < BATCH_ROWS:
            return total
