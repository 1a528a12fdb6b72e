"""How forwarding goes, put together for an operator: switches, tokens, what processes saw, and how deliveries ended."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal

import msgspec

from ingest.db.database import Connection
from ingest.db.queries.deliveries import DeliveryCount, delivery_counts
from ingest.db.queries.destinations import (
    ConfiguredDestination,
    DestinationState,
    configured_destinations,
    destinations,
    workers,
)


class DestinationStatus(msgspec.Struct, frozen=True):
    """One app at one platform.

    `state` is `idle` where nothing was ever sent; `success_share` is that of the conversions that were tried, None
    where none was. `others` are the ends that are no success, `fate:reason`, with their number.
    """

    app_id: str
    platform: str
    state: Literal["idle", "healthy", "degraded", "paused"]
    reason: str
    since: datetime | None
    last_success_at: datetime | None
    sent: int
    success_share: float | None
    others: dict[str, int]


class ForwardStatus(msgspec.Struct, frozen=True):
    """All destinations, the processes that were seen in the last minute, and the records that wait for them."""

    destinations: list[DestinationStatus]
    workers: int
    lag_records: int
    parked_records: int


async def forward_status(connection: Connection, app_id: str | None, *, hours: int) -> ForwardStatus:
    """Return how it goes, of one app or of all; ends are counted over the last hours."""
    configured = [each for each in await configured_destinations(connection) if app_id in {None, each.app_id}]
    seen = {(each.app_id, each.platform): each for each in await destinations(connection)}
    ends: dict[tuple[str, str], list[DeliveryCount]] = {}
    for count in await delivery_counts(connection, hours=hours, app_id=app_id):
        ends.setdefault((count.app_id, count.platform), []).append(count)
    running = await workers(connection)
    return ForwardStatus(
        [_status(each, seen, ends.get((each.app_id, each.platform), ())) for each in configured],
        len(running),
        sum(each.lag_records for each in running),
        sum(each.parked_records for each in running),
    )


def _status(
    one: ConfiguredDestination,
    seen: Mapping[tuple[str, str], DestinationState],
    ends: Iterable[DeliveryCount],
) -> DestinationStatus:
    sent, tried, others = 0, 0, dict[str, int]()
    for end in ends:
        if end.fate == "sent":
            sent += end.count
        else:
            others[f"{end.fate}:{end.reason}"] = end.count
        tried += end.count if end.fate != "skipped" else 0
    last = seen.get((one.app_id, one.platform))
    held = "killed" if one.is_killed else "" if one.has_token else "token_missing"
    return DestinationStatus(
        one.app_id,
        one.platform,
        "paused" if held else last.state if last else "idle",
        held or (last.reason if last else ""),
        last.since if last else None,
        last.last_success_at if last else None,
        sent,
        sent / tried if tried else None,
        others,
    )
