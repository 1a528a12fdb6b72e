"""The faults that every consumer must stand: each breaks something under load, waits, and mends it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from tests.faults.consumer_stage import ConsumerScene

ConsumerFault = Callable[[ConsumerScene], Awaitable[None]]

_STRIDE: Final = 37
"""How much more has come at the moments of kills, from one to the next; no multiple of what a request brings."""


async def database_killed(one: ConsumerScene) -> None:
    """PostgreSQL crashes, with all its processes, and comes back on its data."""
    one.scene.breaks()
    await asyncio.to_thread(one.postgres.kill)
    await asyncio.sleep(one.scene.stage.pace.hold_s)
    await asyncio.to_thread(one.postgres.restart)
    await one.mends()


async def kafka_paused(one: ConsumerScene) -> None:
    """All brokers freeze, longer than the group waits for a member; the edge spools meanwhile."""
    one.scene.breaks()
    await one.scene.stage.pause()
    await asyncio.sleep(one.scene.stage.pace.pause_s)
    await one.scene.stage.resume()
    await one.mends()


async def consumer_killed(one: ConsumerScene) -> None:
    """SIGKILL under load, again and again: in turn after some work, and with the first records just taken."""
    one.scene.breaks()
    number = 0
    for kill in range(one.scene.stage.pace.kills):
        if kill % 2 == 0:
            await one.grow(1 + kill * _STRIDE)
        members = await one.members(1)
        await one.killed(number)
        number = await one.consumers.start()
        await one.members(1, without=members)
    await one.mends()


async def consumers_rebalanced(one: ConsumerScene) -> None:
    """Three consumers share the partitions: one joins late, one is stopped, one is killed, one joins again."""
    one.scene.breaks()
    first, second = 0, await one.consumers.start()
    await one.members(2)
    await one.grow(_STRIDE)
    await one.consumers.start()
    await one.members(3)
    await one.grow(_STRIDE)
    await one.consumers.stop(first)
    await one.members(2)
    await one.grow(_STRIDE)
    await one.killed(second)
    await one.members(1)
    await one.consumers.start()
    await one.members(2)
    await one.mends()
