"""Queries by which what is old enough goes for good."""

from datetime import date
from typing import Final

from psycopg import sql

from ingest.db.database import Connection
from ingest.db.rows import change

BATCH_ROWS: Final = 10_000


async def day_partitions(connection: Connection, parent: str) -> list[tuple[str, date]]:
    """Return the daily partitions of a table and their days, oldest first."""
    async with connection.cursor() as cursor:
        await cursor.execute(
            """
            SELECT c.relname, to_date(right(c.relname, 8), 'YYYYMMDD')
            FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = %(parent)s::regclass AND c.relname ~ '_[0-9]{8}$'
            ORDER BY c.relname
            """,
            {"parent": parent},
        )
        return [(str(name), day) for name, day in await cursor.fetchall()]


async def drop_table(connection: Connection, name: str) -> None:
    """Drop a partition with all its rows."""
    async with connection.cursor() as cursor:
        await cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(name)))


async def delete_audit_events(connection: Connection, days: int) -> int:
    """Delete a batch of audit events that are older than so many days; return how many."""
    return await change(
        connection,
        """
        DELETE FROM audit_events WHERE id IN (
            SELECT id FROM audit_events WHERE at < now() - make_interval(days => %(days)s) ORDER BY at LIMIT %(rows)s)
        """,
        {"days": days, "rows": BATCH_ROWS},
    )


async def delete_delivered_messages(connection: Connection, days: int) -> int:
    """Delete a batch of messages that were delivered so many days ago; return how many."""
    return await change(
        connection,
        """
        DELETE FROM outbox WHERE id IN (
            SELECT id FROM outbox WHERE delivered_at < now() - make_interval(days => %(days)s) LIMIT %(rows)s)
        """,
        {"days": days, "rows": BATCH_ROWS},
    )
