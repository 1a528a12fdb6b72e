"""Statements by which records become rows, in bulk."""

from collections.abc import Iterable, Sequence
from typing import Final, LiteralString

import msgspec

from ingest.db.database import Connection
from ingest.db.rows import change, fetch_all

EVENT_COLUMNS: Final[LiteralString] = (
    "app_id, event_id, ts, project_id, organization_id, name, received_at, user_id, app_user_id, install_id,"
    " session_id, digests, platform, environment, country_code, subdivision1_code, source, event, meta"
)
_STAGING: Final[LiteralString] = "CREATE TEMP TABLE IF NOT EXISTS staged_events (LIKE events) ON COMMIT DELETE ROWS"
_COPY: Final[LiteralString] = "COPY staged_events (" + EVENT_COLUMNS + ") FROM STDIN"
# The staging table has the columns of `events`, in their order.
_INSERT: Final[LiteralString] = "INSERT INTO events SELECT * FROM staged_events ON CONFLICT DO NOTHING"


class Position(msgspec.Struct, frozen=True):
    """How far a consumer has come in one partition; `record_at_ms` is the time stamp of the last record."""

    topic: str
    partition: int
    next_offset: int
    record_at_ms: int


async def insert_events(connection: Connection, lines: Iterable[bytes]) -> int:
    """Add rows, given as lines of COPY's text form, in the transaction at hand; return how many were new.

    Raises `psycopg.DataError` where a line cannot be stored, which undoes the transaction.
    """
    async with connection.cursor() as cursor:
        await cursor.execute(_STAGING)
        async with cursor.copy(_COPY) as copy:
            await copy.write(b"".join(lines))
        await cursor.execute(_INSERT)
        return cursor.rowcount


async def lock_positions(connection: Connection, consumer: str, places: Sequence[tuple[str, int]]) -> list[Position]:
    """Return how far a consumer has come in partitions, given with their topics.

    Whoever else writes from one of these waits until the transaction ends.
    """
    return await fetch_all(
        connection,
        Position,
        """
        SELECT topic, partition, next_offset, record_at_ms FROM consumer_positions
        WHERE consumer = %(consumer)s
            AND (topic, partition) IN (SELECT * FROM unnest(%(topics)s::text[], %(partitions)s::int[]))
        ORDER BY topic, partition FOR UPDATE
        """,
        {
            "consumer": consumer,
            "topics": [topic for topic, _ in places],
            "partitions": [partition for _, partition in places],
        },
    )


async def keep_positions(connection: Connection, consumer: str, positions: Sequence[Position]) -> None:
    """Write down how far a consumer has come."""
    for position in positions:
        await change(
            connection,
            """
            INSERT INTO consumer_positions (consumer, topic, partition, next_offset, record_at_ms)
            VALUES (%(consumer)s, %(topic)s, %(partition)s, %(next_offset)s, %(record_at_ms)s)
            ON CONFLICT (consumer, topic, partition) DO UPDATE
                SET next_offset = excluded.next_offset, record_at_ms = excluded.record_at_ms
            """,
            {"consumer": consumer, **msgspec.structs.asdict(position)},
        )
