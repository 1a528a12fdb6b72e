"""Queries by which what is old enough goes for good. What "old" is, the database's own clock tells."""

from datetime import UTC, date, datetime, time, timedelta
from enum import Enum
from typing import Final, Literal, NamedTuple

import psycopg
from psycopg import sql

from ingest.db.database import Connection
from ingest.db.rows import change

BATCH_ROWS: Final = 10_000

Partitioned = Literal["events", "request_log"]
LikeEvents = Literal["skan_postbacks", "clicks"]
"""Tables whose rows are kept as long as events, by the time of their receipt."""

Kept = Literal["audit_events", "outbox", "deliveries", "erasures", "erased_subjects"]
"""Tables whose rows are kept for a time of their own."""


class Day(NamedTuple):
    """A day (UTC) of a table; its age is 0 today."""

    date: date
    age: int


class Drop(Enum):
    """What became of a partition that was to be dropped."""

    DROPPED = "dropped"
    KEPT = "kept"
    """It is gone already, or not empty."""

    BUSY = "busy"
    """It was in use for longer than a drop waits."""


async def day_partitions(connection: Connection, parent: Partitioned, *, age: int) -> list[Day]:
    """Return the days of at least this age that have a partition, oldest first."""
    async with connection.cursor() as cursor:
        await cursor.execute(
            """
            SELECT to_date(right(c.relname, 8), 'YYYYMMDD'),
                (now() AT TIME ZONE 'UTC')::date - to_date(right(c.relname, 8), 'YYYYMMDD')
            FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = %(parent)s::regclass AND c.relname ~ '_[0-9]{8}$'
                AND right(c.relname, 8) <= to_char((now() AT TIME ZONE 'UTC')::date - %(age)s::integer, 'YYYYMMDD')
            ORDER BY c.relname
            """,
            {"parent": parent, "age": age},
        )
        return [Day(date, age) for date, age in await cursor.fetchall()]


async def drop_day(connection: Connection, parent: Partitioned, day: date, *, only_empty: bool = False) -> Drop:
    """Drop the partition of a day with all its rows, or only where it has none."""
    async with connection.cursor() as cursor:
        try:
            await cursor.execute(
                "SELECT drop_day_partition(%(parent)s, %(day)s, %(only_empty)s)",
                {"parent": parent, "day": day, "only_empty": only_empty},
            )
        except psycopg.errors.LockNotAvailable:
            return Drop.BUSY
        row = await cursor.fetchone()
        return Drop.DROPPED if row is not None and row[0] else Drop.KEPT


async def shortest_retention(connection: Connection, days: int) -> int | None:
    """Return the fewest days that any project keeps its events, None where none keeps them for less than `days`."""
    async with connection.cursor() as cursor:
        await cursor.execute(
            "SELECT min(events_retention_days) FROM projects WHERE events_retention_days < %(days)s", {"days": days}
        )
        row = await cursor.fetchone()
        return None if row is None or row[0] is None else int(row[0])


async def is_day_empty(connection: Connection, day: date) -> bool:
    """Tell whether no event is left of a day."""
    async with connection.cursor() as cursor:
        await cursor.execute(
            "SELECT NOT EXISTS (SELECT FROM events WHERE ts >= %(begins)s AND ts < %(ends)s)", _bounds(day)
        )
        row = await cursor.fetchone()
        return row is not None and bool(row[0])


async def delete_events_of_day(connection: Connection, day: date, days: int) -> int:
    """Delete a batch of a day's events whose project keeps them for less than `days`, and no longer; return how many.

    All of the day lies in one partition, where a row's place is its own.
    """
    return await change(
        connection,
        """
        DELETE FROM events WHERE ts >= %(begins)s AND ts < %(ends)s AND ctid = ANY (ARRAY(
            SELECT e.ctid FROM projects p JOIN events e ON e.project_id = p.id
            WHERE p.events_retention_days < %(days)s AND e.ts < now() - make_interval(days => p.events_retention_days)
                AND e.ts >= %(begins)s AND e.ts < %(ends)s
            LIMIT %(rows)s))
        """,
        {**_bounds(day), "days": days, "rows": BATCH_ROWS},
    )


async def delete_events_of_wrong_clocks(connection: Connection, days: int) -> int:
    """Delete a batch of events without a day of their own that were received too long ago; return how many."""
    return await change(
        connection,
        """
        DELETE FROM events_default WHERE ctid = ANY (ARRAY(
            SELECT e.ctid FROM events_default e LEFT JOIN projects p ON p.id = e.project_id
            WHERE e.received_at < now() - make_interval(days => least(p.events_retention_days, %(days)s))
            LIMIT %(rows)s))
        """,
        {"days": days, "rows": BATCH_ROWS},
    )


async def delete_like_events(connection: Connection, table: LikeEvents, days: int) -> int:
    """Delete a batch of rows that were received longer ago than their project keeps its events; return how many."""
    return await change(
        connection,
        sql.SQL(
            """
            DELETE FROM {table} WHERE ctid = ANY (ARRAY(
                SELECT r.ctid FROM {table} r LEFT JOIN projects p ON p.id = r.project_id
                WHERE r.received_at < now() - make_interval(days => least(p.events_retention_days, %(days)s))
                    AND r.received_at < now() - make_interval(days => (
                        SELECT least(min(events_retention_days), %(days)s) FROM projects))
                LIMIT %(rows)s))
            """
        ).format(table=sql.Identifier(table)),
        {"days": days, "rows": BATCH_ROWS},
    )


async def delete_old_rows(connection: Connection, parent: Kept, days: int) -> int:
    """Delete a batch of rows whose time was more than so many days ago; return how many.

    It counts from the deed of an audit event, the delivery of a message, the record of a delivery, the completion of an
    erasure, and the moment until which what was received is erased.
    """
    async with connection.cursor() as cursor:
        await cursor.execute(
            "SELECT delete_old_rows(%(parent)s, %(days)s, %(rows)s)",
            {"parent": parent, "days": days, "rows": BATCH_ROWS},
        )
        row = await cursor.fetchone()
        return 0 if row is None else int(row[0])


def _bounds(day: date) -> dict[str, datetime]:
    begins = datetime.combine(day, time(), UTC)
    return {"begins": begins, "ends": begins + timedelta(days=1)}
