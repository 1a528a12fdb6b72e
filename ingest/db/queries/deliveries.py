"""Queries on the ledger of deliveries: what became of conversions at platforms.

Many keys go as one JSON text: as arrays they would cost the client several times as much.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

import msgspec

from ingest.db.database import Connection
from ingest.db.rows import change, fetch_all


class DeliveryKey(msgspec.Struct, frozen=True):
    """The identity of an event, its time as the client wrote it, and a platform."""

    app_id: str
    event_id: str
    event_at: str
    platform: str


class DeliveryEnd(DeliveryKey, frozen=True):
    """How a delivery ended: its fate, and why."""

    fate: str
    reason: str


class DeliveryCount(msgspec.Struct, frozen=True):
    """How many deliveries of a destination ended so, and when the last one was recorded."""

    app_id: str
    platform: str
    fate: str
    reason: str
    count: int
    last_at: datetime


async def delivered(connection: Connection, keys: Collection[DeliveryKey]) -> list[DeliveryKey]:
    """Return those of `keys` that are recorded."""
    return await fetch_all(
        connection,
        DeliveryKey,
        """
        SELECT app_id, event_id, event_at, platform
        FROM json_to_recordset(%(keys)s) AS wanted (app_id text, event_id text, event_at text, platform text)
        JOIN deliveries USING (app_id, event_id, event_at, platform)
        """,
        {"keys": _json(list(keys))},
    )


async def record_deliveries(connection: Connection, ends: Sequence[DeliveryEnd]) -> None:
    """Record ends. What is recorded already stays as it is."""
    await change(
        connection,
        """
        INSERT INTO deliveries (app_id, event_id, event_at, platform, fate, reason)
        SELECT * FROM json_to_recordset(%(ends)s)
            AS ended (app_id text, event_id text, event_at text, platform text, fate text, reason text)
        ON CONFLICT DO NOTHING
        """,
        {"ends": _json(ends)},
    )


async def delivery_counts(
    connection: Connection, *, hours: int, app_id: str | None = None, platform: str | None = None
) -> list[DeliveryCount]:
    """Return how the deliveries of the last hours ended, by destination, most frequent first."""
    return await fetch_all(
        connection,
        DeliveryCount,
        """
        SELECT app_id, platform, fate, reason, count(*) AS count, max(recorded_at) AS last_at FROM deliveries
        WHERE recorded_at > now() - make_interval(hours => %(hours)s)
            AND (%(app_id)s::text IS NULL OR app_id = %(app_id)s)
            AND (%(platform)s::text IS NULL OR platform = %(platform)s)
        GROUP BY app_id, platform, fate, reason ORDER BY app_id, platform, count(*) DESC, fate, reason
        """,
        {"hours": hours, "app_id": app_id, "platform": platform},
    )


def _json(rows: Sequence[DeliveryKey]) -> str:
    return msgspec.json.encode(rows).decode()
