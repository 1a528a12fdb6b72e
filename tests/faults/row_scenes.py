"""The faults on the way from Kafka to rows: each breaks something under load, waits, and mends it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg

from tests.faults.row_stage import RowFault, RowScene

_STRIDE: Final = 37
"""Rows by which the moments of kills move on from one to the next; no multiple of what a request brings."""


async def database_killed(rows: RowScene) -> None:
    """PostgreSQL crashes, with all its processes, and comes back on its data."""
    rows.scene.breaks()
    await asyncio.to_thread(rows.postgres.kill)
    await asyncio.sleep(rows.scene.stage.pace.hold_s)
    await asyncio.to_thread(rows.postgres.restart)
    await rows.mends()


async def database_slow(rows: RowScene) -> None:
    """Nothing can be written for a while; in the full form longer than a consumer waits for one batch."""
    with _locked(rows.owner_dsn):
        rows.scene.breaks()
        await asyncio.sleep(rows.scene.stage.pace.lock_s)
    await rows.mends()


async def kafka_paused(rows: RowScene) -> None:
    """All brokers freeze, longer than the group waits for a member; the edge spools meanwhile."""
    rows.scene.breaks()
    await rows.scene.stage.pause()
    await asyncio.sleep(rows.scene.stage.pace.pause_s)
    await rows.scene.stage.resume()
    await rows.mends()


async def consumer_killed(rows: RowScene) -> None:
    """SIGKILL under load, again and again: in turn after some rows, and with the first records just taken."""
    rows.scene.breaks()
    number = 0
    for kill in range(rows.scene.stage.pace.kills):
        if kill % 2 == 0:
            await rows.grow(1 + kill * _STRIDE)
        members = await rows.members(1)
        await rows.consumers.kill(number)
        number = await rows.consumers.start()
        await rows.members(1, without=members)
    await rows.mends()


async def consumers_rebalanced(rows: RowScene) -> None:
    """Three consumers share the partitions: one joins late, one is stopped, one is killed, one joins again."""
    rows.scene.breaks()
    first, second = 0, await rows.consumers.start()
    await rows.members(2)
    await rows.grow(_STRIDE)
    await rows.consumers.start()
    await rows.members(3)
    await rows.grow(_STRIDE)
    await rows.consumers.stop(first)
    await rows.members(2)
    await rows.grow(_STRIDE)
    await rows.consumers.kill(second)
    await rows.members(1)
    await rows.consumers.start()
    await rows.members(2)
    await rows.mends()


ROW_SCENES: Final[dict[str, RowFault]] = {
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
