"""Records and conversions: stored at the same time, acknowledged together or not at all."""

import asyncio
from collections.abc import Sequence

import pytest

from ingest.event import Record
from ingest.transport.contract import RecordTooLarge, Stored, Topic, Unavailable
from ingest.transport.memory import MemoryTransport
from ingest.transport.together import publish_with

EVENTS = [Record(b"a:1", b"{}"), Record(b"a:2", b"{}")]
CONVERSIONS = [Record(b"a:2", b'{"meta":{}}')]
NOW_MS = 1_795_507_200_000


class Scripted(MemoryTransport):
    """A transport that answers each topic in its own way."""

    def __init__(self, **answers: Stored | Exception) -> None:
        super().__init__()
        self.answers = answers
        self.asked: list[tuple[Topic, int]] = []

    async def publish(self, topic: Topic, records: Sequence[Record], timestamp_ms: int) -> Stored:
        """Answer as told, in another turn of the loop."""
        self.asked.append((topic, timestamp_ms))
        await asyncio.sleep(0)
        answer = self.answers[topic.value]
        if isinstance(answer, Exception):
            raise answer
        return await super().publish(topic, records, timestamp_ms) and answer


def publish(transport: MemoryTransport, conversions: list[Record]) -> Stored:
    """Store the events and some conversions."""

    async def story() -> Stored:
        await transport.start()
        return await publish_with(transport, Topic.EVENTS, EVENTS, conversions, NOW_MS)

    return asyncio.run(story())


def kept(transport: MemoryTransport, topic: Topic) -> list[Record]:
    """Return what is stored on a topic."""
    assert {each.timestamp_ms for each in transport.records[topic]} <= {NOW_MS}
    return [Record(each.key, each.value) for each in transport.records[topic]]


def test_both_are_stored_on_their_topics() -> None:
    """With the same time stamp, the events before their conversions."""
    transport = Scripted(events=Stored.REPLICATED, forward=Stored.REPLICATED)

    assert publish(transport, CONVERSIONS) is Stored.REPLICATED
    assert (kept(transport, Topic.EVENTS), kept(transport, Topic.FORWARD)) == (EVENTS, CONVERSIONS)
    assert transport.asked == [(Topic.EVENTS, NOW_MS), (Topic.FORWARD, NOW_MS)]


def test_without_conversions_nothing_else_is_asked() -> None:
    """What stores the events is handed on as it is."""
    transport = Scripted(events=Stored.SPOOLED)

    assert publish(transport, []) is Stored.SPOOLED
    assert transport.asked == [(Topic.EVENTS, NOW_MS)]
    assert kept(transport, Topic.EVENTS) == EVENTS


@pytest.mark.parametrize("events", list(Stored))
@pytest.mark.parametrize("forward", list(Stored))
def test_the_promise_is_the_weaker_one(events: Stored, forward: Stored) -> None:
    """Replicated only where both are."""
    weaker = Stored.SPOOLED if Stored.SPOOLED in {events, forward} else Stored.REPLICATED
    assert publish(Scripted(events=events, forward=forward), CONVERSIONS) is weaker


@pytest.mark.parametrize(
    ("events", "forward", "expected"),
    [
        (Unavailable("a"), Stored.REPLICATED, Unavailable),
        (Stored.REPLICATED, Unavailable("a"), Unavailable),
        (Unavailable("a"), Unavailable("b"), Unavailable),
        (Stored.SPOOLED, RecordTooLarge("a"), RecordTooLarge),
        (Unavailable("a"), RecordTooLarge("a"), RecordTooLarge),
        (ZeroDivisionError(), Stored.REPLICATED, ZeroDivisionError),
    ],
)
def test_what_one_lacks_is_lacking_to_both(
    events: Stored | Exception, forward: Stored | Exception, expected: type[Exception]
) -> None:
    """And the other has ended by then, too: nothing is left running."""
    transport = Scripted(events=events, forward=forward)

    with pytest.raises(expected):
        publish(transport, CONVERSIONS)
    assert len(kept(transport, Topic.EVENTS)) == (len(EVENTS) if isinstance(events, Stored) else 0)
    assert len(kept(transport, Topic.FORWARD)) == (len(CONVERSIONS) if isinstance(forward, Stored) else 0)


def test_both_wait_at_the_same_time() -> None:
    """A transport that takes its time is waited for once."""

    async def story() -> tuple[int, Stored]:
        transport = MemoryTransport()
        await transport.start()
        transport.hold()
        storing = asyncio.ensure_future(publish_with(transport, Topic.EVENTS, EVENTS, CONVERSIONS, NOW_MS))
        for _ in range(5):  # turns of the loop, of which each of the three tasks needs one
            await asyncio.sleep(0)
        waiting = transport.health().pending_records
        transport.release()
        return waiting, await storing

    assert asyncio.run(story()) == (3, Stored.REPLICATED)
