"""The faults on the way from Kafka to rows: each breaks something under load, waits, and mends it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg

from tests.faults.consumer_scenes import (
    ConsumerFault,
    consumer_killed,
    consumers_rebalanced,
    database_killed,
    kafka_paused,
)
from tests.faults.consumer_stage import ConsumerScene


async def database_slow(rows: ConsumerScene) -> None:
    """Nothing can be written for a while; in the full form longer than a consumer waits for one batch."""
    with _locked(rows.owner_dsn):
        rows.scene.breaks()
        await asyncio.sleep(rows.scene.stage.pace.lock_s)
    await rows.mends()


ROW_SCENES: Final[dict[str, ConsumerFault]] = {
    "database killed": database_killed,
    "database slow": database_slow,
    "Kafka paused": kafka_paused,
    "consumer killed": consumer_killed,
    "consumers rebalanced": consumers_rebalanced,
}


@contextmanager
def _locked(dsn: str) -> Iterator[None]:
    """Hold a lock on `events` that keeps everybody else from the table."""
    with psycopg.connect(dsn) as connection:
        connection.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        yield
