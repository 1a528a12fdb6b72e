"""Statements by which records become rows, in bulk."""

from collections.abc import Iterable, Sequence
from typing import Final, LiteralString

import msgspec
import psycopg
from psycopg.rows import TupleRow

from ingest.db.database import Connection
from ingest.db.rows import change, fetch_all

EVENT_COLUMNS: Final[LiteralString] = (
    "app_id, event_id, ts, project_id, organization_id, name, received_at, user_id, app_user_id, install_id,"
    " session_id, digests, platform, environment, country_code, subdivision1_code, source, event, meta"
)
_COPY: Final[LiteralString] = "COPY events (" + EVENT_COLUMNS + ") FROM STDIN"
_STAGING: Final[LiteralString] = "CREATE TEMP TABLE IF NOT EXISTS staged_events (LIKE events) ON COMMIT DELETE ROWS"
_STAGE: Final[LiteralString] = "COPY staged_events (" + EVENT_COLUMNS + ") FROM STDIN"
# The staging table has the columns of `events`, in their order. What an earlier call of the same transaction staged is
# still in it, and is left out because it is there already.
_INSERT: Final[LiteralString] = "INSERT INTO events SELECT * FROM staged_events ON CONFLICT DO NOTHING"


class Position(msgspec.Struct, frozen=True):
    """How far a consumer has come in one partition; `record_at_ms` is the time stamp of the last record."""

    topic: str
    partition: int
    next_offset: int
    record_at_ms: int


async def copy_events(connection: Connection, parts: Iterable[bytes]) -> int:
    """Add rows, given as lines of COPY's text form, in the transaction at hand; return how many.

    Each part is asked for while the server works on those before. Raises `psycopg.errors.UniqueViolation` where a row
    is there already or comes twice, and `psycopg.DataError` where a line cannot be stored; both undo the transaction.
    """
    async with connection.cursor() as cursor:
        await _copy(cursor, _COPY, parts)
        return cursor.rowcount


async def insert_events(connection: Connection, parts: Iterable[bytes]) -> int:
    """Add rows as `copy_events` does, but leave out what is there already; return how many were new.

    They are staged first, so the server writes each of them twice.
    """
    async with connection.cursor() as cursor:
        await cursor.execute(_STAGING)
        await _copy(cursor, _STAGE, parts)
        await cursor.execute(_INSERT)
        return cursor.rowcount


async def _copy(cursor: psycopg.AsyncCursor[TupleRow], statement: LiteralString, parts: Iterable[bytes]) -> None:
    async with cursor.copy(statement) as copy:
        for part in parts:
            await copy.write(part)


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
