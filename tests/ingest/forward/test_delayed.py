"""Records that are due later: none early, none lost, and a commit that never goes ahead of them."""

import asyncio

from ingest.clock import FakeClock
from ingest.event import Record
from ingest.forward.delayed import DelayedSource
from ingest.transport.contract import Topic
from ingest.transport.memory import MemorySource, MemoryTransport

DELAY_MS = 120_000


def test_records_come_when_they_are_due() -> None:
    """A batch comes whole, once the newest of it is due, and in its order."""

    async def story() -> None:
        clock, transport = FakeClock(), MemoryTransport()
        await transport.start()
        source = DelayedSource(MemorySource(transport, Topic.FORWARD_PARKED, "g"), clock, delay_ms=DELAY_MS)
        await source.start()
        assert await source.poll(10, 0) == ()
        await transport.publish(Topic.FORWARD_PARKED, [Record(b"k", b"1")], clock.now_ms())
        await transport.publish(Topic.FORWARD_PARKED, [Record(b"k", b"2")], clock.now_ms() + 1_000)

        assert await source.poll(10, 0) == ()
        clock.advance(DELAY_MS)
        assert await source.poll(10, 0) == ()
        clock.advance(1_000)
        assert [each.value for each in await source.poll(10, 0)] == [b"1", b"2"]
        assert transport.cursors == {}
        await source.commit()
        assert list(transport.cursors.values()) == [2]
        assert await source.poll(10, 0) == ()

    asyncio.run(story())


def test_what_was_not_due_is_there_after_a_new_start() -> None:
    """What was taken and not handed out is not committed."""

    async def story() -> None:
        clock, transport = FakeClock(), MemoryTransport()
        await transport.start()
        await transport.publish(Topic.FORWARD_PARKED, [Record(b"k", b"1")], clock.now_ms())
        first = DelayedSource(MemorySource(transport, Topic.FORWARD_PARKED, "g"), clock, delay_ms=DELAY_MS)
        await first.start()
        assert await first.poll(10, 0) == ()
        await first.close()
        clock.advance(DELAY_MS)
        second = DelayedSource(MemorySource(transport, Topic.FORWARD_PARKED, "g"), clock, delay_ms=DELAY_MS)
        await second.start()

        assert [each.value for each in await second.poll(10, 0)] == [b"1"]

    asyncio.run(story())
