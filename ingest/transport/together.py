"""Store records and their conversions: two topics, one promise."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from ingest.event import Record
from ingest.transport.contract import Publisher, RecordTooLarge, Stored, Topic


def publish_with(
    publisher: Publisher, topic: Topic, records: Sequence[Record], conversions: Sequence[Record], timestamp_ms: int
) -> Coroutine[Any, Any, Stored]:
    """Return what stores `records` on their topic and `conversions` on `forward`, and gives the promise for all.

    Both are stored at the same time, so that they share a group commit. Raises as `Publisher.publish`: where either is
    not known to be stored nothing is acknowledged.
    """
    if not conversions:
        return publisher.publish(topic, records, timestamp_ms)
    return _publish_both(
        publisher.publish(topic, records, timestamp_ms), publisher.publish(Topic.FORWARD, conversions, timestamp_ms)
    )


async def _publish_both(records: Coroutine[Any, Any, Stored], conversions: Coroutine[Any, Any, Stored]) -> Stored:
    outcomes = await asyncio.gather(records, conversions, return_exceptions=True)
    errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    if errors:
        # What can never be stored is told first: a retry would not help.
        raise next((error for error in errors if isinstance(error, RecordTooLarge)), errors[0])
    return Stored.SPOOLED if Stored.SPOOLED in outcomes else Stored.REPLICATED
