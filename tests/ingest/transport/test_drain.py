"""The drain and time: what may live for so long only does not begin a second life on Kafka."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ingest.clock import FakeClock, SystemClock
from ingest.event import Record
from ingest.settings import Settings
from ingest.transport import spool_view
from ingest.transport.breaker import Breaker
from ingest.transport.contract import Delivered, Topic
from ingest.transport.drain import Drain
from ingest.transport.local_log import LocalLog
from ingest.transport.log_format import Totals
from ingest.transport.memory import MemoryTransport
from ingest.transport.retention import RETENTION_MS
from ingest.transport.sealed import SealKeys
from ingest.wiring.transport import SPOOL_EXPIRING, open_spool

KEYS = SealKeys.parse(SealKeys.generate())
HOUR_MS = 3_600_000
EXPIRING = {topic: RETENTION_MS[topic] for topic in SPOOL_EXPIRING}


@asynccontextmanager
async def draining(folder: Path, log: LocalLog) -> AsyncIterator[tuple[Drain, MemoryTransport]]:
    """Make a drain over an open spool, to a Kafka that takes everything."""
    kafka = MemoryTransport()
    await kafka.start()
    with contextlib.closing(Drain(log, folder, KEYS, kafka, Breaker())) as drain:
        yield drain, kafka


async def publish(log: LocalLog, topic: Topic, *stamped: tuple[bytes, int]) -> None:
    """Store records with these values and times of receipt, as far as possible in one chunk."""
    publishing = [log.publish(topic, [Record(b"k", value)], received_ms) for value, received_ms in stamped]
    await asyncio.gather(*publishing)


def test_what_has_outlived_its_retention_does_not_move(tmp_path: Path) -> None:
    """Though nobody has deleted it yet; younger records of its chunk move, and of other topics all."""
    clock = FakeClock()
    now_ms = clock.now_ms()

    async def story() -> None:
        log = LocalLog(tmp_path, KEYS, bytes_max=2**26, retention_ms=EXPIRING, clock=clock)
        await log.start()
        old, young = (b"old", now_ms - HOUR_MS - 1), (b"young", now_ms - HOUR_MS)
        for topic in (Topic.FORWARD, Topic.FORWARD_PARKED, Topic.EVENTS):
            await publish(log, topic, old, young)
        async with draining(tmp_path, log) as (drain, kafka):
            while log.totals.waiting:
                await drain.step()
            totals = log.totals
        await log.close()
        moved = {topic: [each.value for each in records] for topic, records in kafka.records.items()}
        assert moved == {
            Topic.FORWARD: [b"young"],
            Topic.FORWARD_PARKED: [b"old", b"young"],
            Topic.EVENTS: [b"old", b"young"],
        }
        assert totals == Totals(stored=6, deleted=6)
        assert list(spool_view.faults(tmp_path, KEYS)) == []

    asyncio.run(story())


def test_the_spool_of_an_edge_keeps_device_identifiers_for_an_hour(tmp_path: Path) -> None:
    """Counted from the receipt; what was left by a process that ended is gone once another one has it, unmoved."""
    now_ms = SystemClock().now_ms()

    async def story() -> None:
        log = LocalLog(tmp_path, KEYS, bytes_max=2**26)
        await log.start()
        await publish(log, Topic.FORWARD, (b"old", now_ms - 2 * HOUR_MS))
        await publish(log, Topic.FORWARD, (b"young", now_ms - HOUR_MS // 2))
        await publish(log, Topic.EVENTS, (b"event", now_ms - 48 * HOUR_MS))
        await log.close()
        log = open_spool(Settings(), KEYS, tmp_path)
        await log.start()
        async with asyncio.timeout(20):
            while log.totals.deleted < 1:  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.01)
        left = [each.value for each in spool_view.records(tmp_path, KEYS) if isinstance(each, Delivered)]
        async with draining(tmp_path, log) as (drain, kafka):
            while log.totals.waiting:
                await drain.step()
        await log.close()
        assert left == [b"event", b"young"]
        assert [each.value for each in kafka.records[Topic.FORWARD]] == [b"young"]

    asyncio.run(story())
