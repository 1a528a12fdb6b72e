"""The persisting process at work: who is erased is known first, and one lane that ends badly ends all."""

import asyncio
from collections.abc import Sequence

import pytest

from ingest.clock import FakeClock
from ingest.consume.dead_letter import DeadLetters
from ingest.consume.lanes import Lane, Lanes
from ingest.consume.loop import POISON_FREE, Brake, Loop
from ingest.consume.step import Away, Poison
from ingest.event import Record
from ingest.persist.worker import PersistWorker
from ingest.persist.writer import Written
from ingest.transport.contract import Delivered, Topic
from ingest.transport.memory import MemorySource, MemoryTransport
from ingest.transport.sealed import SealKeys
from tests.ingest.consume.test_loop import turns


class Story:
    """A transport, and steps that write down what they were given, in the order in which it was done."""

    def __init__(self, *, poisonous: Topic | None = None, away: int = 0) -> None:
        self.transport = MemoryTransport()
        self.told: list[tuple[Topic, int]] = []
        self.erasing = False
        self.eraser_fails = False
        self._poisonous = poisonous
        self._away = away
        first, *lanes = (self._lane(topic) for topic in (Topic.ERASURES, Topic.EVENTS, Topic.CONSENT))
        self.worker = PersistWorker(Lanes(lanes, first), self._erase, Written, FakeClock())

    async def run(self, sent: dict[Topic, int], *, until: int) -> None:
        """Publish so many records on each topic, run until so many were done, then stop."""
        await self.transport.start()
        for topic, count in sent.items():
            await self.transport.publish(topic, [Record(b"k", b"%d" % number) for number in range(count)], 5)
        running = asyncio.create_task(self.worker.run())
        await turns(lambda: running.done() or sum(count for _, count in self.told) >= until)
        self.worker.stop()
        await running

    def _lane(self, topic: Topic) -> Lane:
        story = self

        class Step:
            async def do(self, records: Sequence[Delivered]) -> Sequence[Poison]:
                if topic is Topic.ERASURES and story._away:
                    story._away -= 1
                    raise Away
                story.told.append((topic, len(records)))
                return [Poison(record, "no_good") for record in records if topic is story._poisonous]

        letters = DeadLetters(self.transport, SealKeys(bytes(32)), "test", FakeClock())
        source = MemorySource(self.transport, topic, "test")
        return Lane(topic, source, Loop(source, Step(), letters, jitter=lambda: 0.0))

    async def _erase(self) -> None:
        self.erasing = True
        if self.eraser_fails:
            raise ValueError("a bug")
        try:
            await asyncio.Event().wait()
        finally:
            self.erasing = False


def test_who_is_erased_is_known_first() -> None:
    """Also where the database is away at first: nothing else begins before all erasures are read."""
    story = Story(away=2)
    asyncio.run(story.run({Topic.EVENTS: 3, Topic.CONSENT: 2, Topic.ERASURES: 4}, until=9))

    assert story.told[0] == (Topic.ERASURES, 4)
    assert sorted(story.told[1:]) == [(Topic.CONSENT, 2), (Topic.EVENTS, 3)]
    assert not story.erasing


def test_a_brake_ends_all() -> None:
    """The code is at fault in one lane: the process ends, with the others at rest."""
    story = Story(poisonous=Topic.CONSENT)
    with pytest.raises(Brake):
        asyncio.run(story.run({Topic.EVENTS: 1, Topic.CONSENT: POISON_FREE + 1}, until=10**6))
    assert not story.erasing


def test_nothing_goes_on_without_the_eraser() -> None:
    """Whoever is to be erased would stay, and nobody would know: the process ends with its error."""
    story = Story()
    story.eraser_fails = True
    with pytest.raises(ValueError, match="a bug"):
        asyncio.run(story.run({Topic.EVENTS: 1}, until=10**6))


def test_a_stop_while_the_first_waits() -> None:
    """Where erasures cannot be taken in, a stop ends the process all the same, and no other lane has begun."""
    story = Story(away=10**6)

    async def play() -> None:
        running = asyncio.create_task(story.run({Topic.EVENTS: 1, Topic.ERASURES: 1}, until=10**6))
        await turns(lambda: story.erasing)
        story.worker.stop()
        await running

    asyncio.run(play())
    assert story.told == []
