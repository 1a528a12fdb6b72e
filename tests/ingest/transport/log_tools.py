"""What the tests of the local log share: opening one, filling one, reading all of one."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ingest.event import Record
from ingest.transport.contract import Delivered, Topic
from ingest.transport.local_log import LocalLog
from ingest.transport.local_source import LocalLogSource
from ingest.transport.log_format import Damage
from ingest.transport.sealed import SealKeys

ROOT = Path(__file__).parents[3]
KEY = SealKeys.generate()


@asynccontextmanager
async def opened(folder: Path, key: str = KEY, **options: Any) -> AsyncIterator[LocalLog]:
    """Start a log over `folder` and close it at the end."""
    log = LocalLog(folder, SealKeys.parse(key), **{"bytes_max": 64 * 2**20, **options})
    await log.start()
    try:
        yield log
    finally:
        await log.close()


async def read_all(folder: Path, topic: Topic = Topic.EVENTS, key: str = KEY) -> tuple[list[Delivered], list[Damage]]:
    """Read all records of a topic from the oldest on, and what had to be skipped."""
    source = LocalLogSource(folder, SealKeys.parse(key), topic, None)
    await source.start()
    records: list[Delivered] = []
    while some := await source.poll(1000, 0):
        records.extend(some)
    await source.close()
    return records, list(source.damage)


def offsets(records: list[Delivered]) -> list[int]:
    """Reduce to the offsets."""
    return [record.offset for record in records]


def batch(name: str, size: int) -> list[Record]:
    """Make records of one key whose values tell their order."""
    return [Record(name.encode(), f"{name}-{position}".encode()) for position in range(size)]


async def fill(folder: Path, publishes: int, size: int = 2) -> None:
    """Fill a log with that many chunks of `size` records each, and close it."""
    async with opened(folder) as log:
        for number in range(publishes):
            await log.publish(Topic.EVENTS, batch("k", size), number)


async def fill_and_crash(folder: Path, publishes: int, copy: Path) -> None:
    """Fill a log and copy its files as they are after the last acknowledgement, as a power cut would leave them."""
    async with opened(folder) as log:
        for number in range(publishes):
            await log.publish(Topic.EVENTS, batch("k", 2), number)
        await asyncio.to_thread(shutil.copytree, folder, copy)
