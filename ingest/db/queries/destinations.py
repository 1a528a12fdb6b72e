"""Queries on how forwarding goes: its destinations, and the processes that forward."""

from datetime import datetime
from typing import Final, Literal, LiteralString

import msgspec

from ingest.db.database import Connection
from ingest.db.rows import change, fetch_all, fetch_one

State = Literal["healthy", "degraded", "paused"]


class DestinationSeen(msgspec.Struct, frozen=True):
    """How it goes with one app at one platform; `reason` is a code, empty where it is healthy."""

    app_id: str
    platform: str
    state: State
    reason: str = ""
    last_success_at: datetime | None = None


class DestinationState(DestinationSeen, frozen=True, kw_only=True):
    """How it was seen last by a process that forwards, and since when it is in this state."""

    since: datetime
    seen_at: datetime


class ForwardWorker(msgspec.Struct, frozen=True):
    """A process that forwards: how many records wait for it on the two topics."""

    id: str
    seen_at: datetime
    lag_records: int
    parked_records: int


class ConfiguredDestination(msgspec.Struct, frozen=True):
    """A destination to which an app forwards: whether a switch is on that concerns it, and whether it has a token."""

    app_id: str
    platform: str
    is_killed: bool
    has_token: bool


_SELECT: Final[LiteralString] = (
    "SELECT app_id, platform, state, reason, since, last_success_at, seen_at FROM forward_destinations"
)


async def lock_destination(connection: Connection, app_id: str, platform: str) -> DestinationState | None:
    """Return the state of a destination, None where there is none yet, and keep others from changing it."""
    return await fetch_one(
        connection,
        DestinationState,
        _SELECT + " WHERE app_id = %(app_id)s AND platform = %(platform)s FOR UPDATE",
        {"app_id": app_id, "platform": platform},
    )


async def keep_destination(connection: Connection, seen: DestinationSeen) -> None:
    """Write down how it goes with a destination; `since` moves with its state, and its last success never back."""
    await change(
        connection,
        """
        INSERT INTO forward_destinations AS held (app_id, platform, state, reason, last_success_at)
        VALUES (%(app_id)s, %(platform)s, %(state)s, %(reason)s, %(last_success_at)s)
        ON CONFLICT (app_id, platform) DO UPDATE SET
            state = excluded.state, reason = excluded.reason, seen_at = excluded.seen_at,
            since = CASE WHEN held.state = excluded.state THEN held.since ELSE excluded.since END,
            last_success_at = greatest(held.last_success_at, excluded.last_success_at)
        """,
        msgspec.structs.asdict(seen),
    )


async def destinations(connection: Connection) -> list[DestinationState]:
    """Return the state of every destination that was ever sent to."""
    return await fetch_all(connection, DestinationState, _SELECT + " ORDER BY app_id, platform")


async def keep_worker(connection: Connection, worker_id: str, lag_records: int, parked_records: int) -> None:
    """Write down how far a process is, and forget those that have not been seen for an hour."""
    await change(
        connection,
        """
        INSERT INTO forward_workers (id, lag_records, parked_records) VALUES (%(id)s, %(lag)s, %(parked)s)
        ON CONFLICT (id) DO UPDATE SET seen_at = now(), lag_records = excluded.lag_records,
            parked_records = excluded.parked_records
        """,
        {"id": worker_id, "lag": lag_records, "parked": parked_records},
    )
    await change(connection, "DELETE FROM forward_workers WHERE seen_at < now() - interval '1 hour'")


async def forget_worker(connection: Connection, worker_id: str) -> None:
    """Forget a process that has ended."""
    await change(connection, "DELETE FROM forward_workers WHERE id = %(id)s", {"id": worker_id})


async def workers(connection: Connection) -> list[ForwardWorker]:
    """Return the processes that forward, as they were seen in the last minute."""
    return await fetch_all(
        connection,
        ForwardWorker,
        """
        SELECT id, seen_at, lag_records, parked_records FROM forward_workers
        WHERE seen_at > now() - interval '1 minute' ORDER BY id
        """,
    )


async def configured_destinations(connection: Connection) -> list[ConfiguredDestination]:
    """Return every destination that an app which is not retired has enabled."""
    return await fetch_all(
        connection,
        ConfiguredDestination,
        """
        SELECT a.id AS app_id, platform, EXISTS (
                SELECT FROM vault_secrets v WHERE v.app_id = a.id AND v.platform = p.platform
            ) AS has_token,
            a.kill_switch OR EXISTS (
                SELECT FROM kill_switches k WHERE k.scope = 'global' OR k.platform = p.platform
                    OR k.organization_id = projects.organization_id
            ) AS is_killed
        FROM apps a JOIN projects ON projects.id = a.project_id
        CROSS JOIN unnest(array['meta', 'tiktok']) AS p (platform)
        WHERE a.is_active AND a.revoked_at IS NULL AND a.options #>> array['forward', platform, 'enabled'] = 'true'
        ORDER BY a.id, platform
        """,
    )
