import asyncio

import pytest

from ingest.clock import FakeClock
from ingest.event import Record
from ingest.transport.contract import RecordTooLarge, Stored, Topic, Unavailable
from ingest.transport.memory import MemoryTransport

ONE = [Record(b"k", b"v")]


def test_failures_come_as_ordered() -> None:
    """The announced number of publishes fails and stores nothing; the next one succeeds."""

    async def story() -> None:
        transport = MemoryTransport(stored_as=Stored.SPOOLED)
        await transport.start()
        transport.fail_next(2)
        transport.fail_next(error=RecordTooLarge("asked for"))
        for error in (Unavailable, Unavailable, RecordTooLarge):
            with pytest.raises(error):
                await transport.publish(Topic.EVENTS, ONE, 1)
        assert not transport.records[Topic.EVENTS]
        assert await transport.publish(Topic.EVENTS, ONE, 1) is Stored.SPOOLED
        assert len(transport.records[Topic.EVENTS]) == 1

    asyncio.run(story())


def test_a_hold_keeps_acknowledgements_back() -> None:
    """While held nothing is stored and health shows what waits; a release stores all of it in order."""

    async def story() -> None:
        clock = FakeClock()
        transport = MemoryTransport(clock=clock)
        await transport.start()
        transport.hold()
        waiting = [asyncio.create_task(transport.publish(Topic.EVENTS, ONE, n)) for n in range(3)]
        await asyncio.sleep(0)
        clock.advance(700)
        assert transport.health() == (True, "", 3, 700)
        assert not transport.records[Topic.EVENTS]
        transport.release()
        assert await asyncio.gather(*waiting) == [Stored.REPLICATED] * 3
        assert [record.timestamp_ms for record in transport.records[Topic.EVENTS]] == [0, 1, 2]
        assert transport.health().pending_records == 0

    asyncio.run(story())


def test_a_hold_past_the_deadline_is_an_outage() -> None:
    """The caller hears `Unavailable` in time, and its records are stored late all the same."""

    async def story() -> None:
        transport = MemoryTransport(ack_deadline_ms=1)
        await transport.start()
        transport.hold()
        with pytest.raises(Unavailable, match="1 ms"):
            await transport.publish(Topic.EVENTS, ONE, 1)
        await transport.close()
        assert len(transport.records[Topic.EVENTS]) == 1

    asyncio.run(story())
