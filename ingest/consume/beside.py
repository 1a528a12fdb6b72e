"""Lanes with what runs beside them: whatever ends by an error ends all of it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from ingest.consume.lanes import Lanes


async def run_beside(lanes: Lanes, beside: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Run lanes until they end, and other work until then.

    Raises `Brake`, and the error of what has failed: a process that looks alive and cannot do its work helps nobody.
    """
    running = asyncio.ensure_future(lanes.run())
    others = [asyncio.ensure_future(work()) for work in beside]
    try:
        await asyncio.wait({running, *others}, return_when=asyncio.FIRST_COMPLETED)
        lanes.stop()
        await running
        for task in others:
            if task.done():
                task.result()
    finally:
        for task in (running, *others):
            task.cancel()
        await asyncio.gather(running, *others, return_exceptions=True)
