"""The loop of consumers: what is committed when, what is tried again, and when the brake is pulled."""

import asyncio
from collections.abc import Callable, Sequence

import msgspec
import pytest

from ingest.clock import FakeClock
from ingest.consume.dead_letter import ContentNotKept, DeadLetter, DeadLetters, reopen
from ingest.consume.loop import POISON_FREE, Brake, Loop
from ingest.consume.step import Away, Poison
from ingest.event import Record
from ingest.transport.contract import Delivered, Topic
from ingest.transport.memory import MemorySource, MemoryTransport
from ingest.transport.sealed import SealKeys

KEYS = SealKeys(bytes(32))


class Steps:
    """A step that writes down what it was given, finds records with `bad` in them poisonous, and fails on demand."""

    def __init__(self, *failures: BaseException) -> None:
        self.failures = list(failures)
        self.given: list[list[bytes]] = []

    async def do(self, records: Sequence[Delivered]) -> Sequence[Poison]:
        """Do the work."""
        self.given.append([record.value for record in records])
        if self.failures:
            raise self.failures.pop(0)
        return [Poison(record, "no_good") for record in records if b"bad" in record.value]


async def turns(holds: Callable[[], bool]) -> None:
    """Let other tasks run until `holds`."""
    while not holds():  # noqa: ASYNC110 - what is waited for is a plain number of the thing under test
        await asyncio.sleep(0)


class World:
    """A transport with records, and a loop over it."""

    def __init__(self, step: Steps, *values: bytes) -> None:
        self.transport = MemoryTransport()
        self.step = step
        self.values = values
        self.source = MemorySource(self.transport, Topic.EVENTS, "test")
        letters = DeadLetters(self.transport, KEYS, "test", FakeClock())
        self.loop = Loop(self.source, step, letters, records_max=100, jitter=lambda: 0.0)

    async def run(self) -> None:
        """Run until all is consumed."""
        await self.transport.start()
        if self.values:
            await self.transport.publish(Topic.EVENTS, [Record(b"k", value) for value in self.values], 5)
        await self.source.start()
        running = asyncio.create_task(self.loop.run())
        await turns(lambda: running.done() or self.loop.done + self.loop.poisoned >= len(self.values))
        self.loop.stop()
        await running

    @property
    def committed(self) -> int:
        """How far the group has come."""
        return self.transport.cursors.get(("test", Topic.EVENTS), 0)


def test_done_records_are_committed() -> None:
    """All records reach the step, in order, and are committed."""
    world = World(Steps(), b"1", b"2", b"3")
    asyncio.run(world.run())
    assert world.step.given == [[b"1", b"2", b"3"]]
    assert (world.committed, world.loop.done, world.loop.poisoned) == (3, 3, 0)


def test_the_same_records_are_tried_again() -> None:
    """While the step's database is away nothing is committed, and no record is skipped."""
    world = World(Steps(Away(), Away()), b"1", b"2")
    asyncio.run(world.run())
    assert world.step.given == [[b"1", b"2"]] * 3
    assert world.committed == 2
    assert not world.loop.away


def test_poison_is_set_aside_whole() -> None:
    """A record that can never be used is a dead letter, from which it can be had back, and its neighbours go on."""
    world = World(Steps(), b"1", b'{"meta": {"app_id": "app_x", "event_id": "a@b"}, "e mail": 1, "bad": [true]}', b"3")
    asyncio.run(world.run())
    assert (world.committed, world.loop.done, world.loop.poisoned) == (3, 2, 1)

    (stored,) = world.transport.records[Topic.DEAD_LETTERS]
    letter = msgspec.json.decode(stored.value, type=DeadLetter)
    assert (letter.reason, letter.consumer, letter.offset, letter.app_id, letter.event_id) == (
        "no_good",
        "test",
        1,
        "app_x",
        None,
    )
    assert letter.shape == {"meta": {"app_id": "string", "event_id": "string"}, "*": "number", "bad": "array"}
    assert reopen(letter, KEYS).value == world.values[1]
    assert b"a@b" not in stored.value


def test_poison_that_may_not_outlive_its_topic_leaves_no_content() -> None:
    """Reason, shape, ids and place are kept, neither value nor key, sealed or not; asked for it says so."""
    value = b'{"meta": {"app_id": "app_x", "event_id": "e1"}, "event": {"idfa": "5E7A4B1C", "bad": 1}}'
    transport = MemoryTransport()
    letters = DeadLetters(transport, KEYS, "forward", FakeClock(), with_content=False)

    async def run() -> None:
        await transport.start()
        await letters.put([Poison(Delivered(Topic.FORWARD, 3, 17, 5, b"app_x:5E7A4B1C", value, ()), "no_good")])

    asyncio.run(run())
    (stored,) = transport.records[Topic.DEAD_LETTERS]
    letter = msgspec.json.decode(stored.value, type=DeadLetter)

    assert letter == DeadLetter(
        reason="no_good",
        consumer="forward",
        topic="forward",
        partition=3,
        offset=17,
        timestamp_ms=5,
        size_bytes=len(value),
        shape={"meta": {"app_id": "string", "event_id": "string"}, "event": {"idfa": "string", "bad": "number"}},
        app_id="app_x",
        event_id="e1",
    )
    assert stored.key == b"forward/3/17"
    with pytest.raises(ContentNotKept, match="forward/3/17"):
        reopen(letter, KEYS)


def test_nothing_is_committed_while_poison_cannot_be_set_aside() -> None:
    """A dead letter that cannot be stored holds up the position, and is tried again."""
    world = World(Steps(), b"bad")

    async def run() -> None:
        await world.transport.start()
        await world.transport.publish(Topic.EVENTS, [Record(b"k", b"bad")], 5)
        world.transport.fail_next()
        await world.source.start()
        running = asyncio.create_task(world.loop.run())
        while world.loop.poisoned < 1:
            if not world.loop.away:
                assert world.committed == 0
            await asyncio.sleep(0)
        world.loop.stop()
        await running

    asyncio.run(run())
    assert world.committed == 1
    assert len(world.transport.records[Topic.DEAD_LETTERS]) == 1


def test_the_brake() -> None:
    """Where too much is poison the loop stops loudly, and commits nothing of that batch."""
    world = World(Steps(), *[b"bad"] * (POISON_FREE + 1))
    with pytest.raises(Brake):
        asyncio.run(world.run())
    assert world.committed == 0
    assert world.transport.records[Topic.DEAD_LETTERS] == []


def test_a_few_bad_records_pull_no_brake() -> None:
    """A small share of poison is set aside without ado."""
    world = World(Steps(), *[b"bad"] * 4, *[b"good"] * 96)
    asyncio.run(world.run())
    assert (world.committed, world.loop.poisoned) == (100, 4)


def test_a_stop_while_the_database_is_away() -> None:
    """A stop does not wait for the database; what was not done is handed out again."""
    world = World(Steps(*[Away()] * 1_000), b"1")

    async def run() -> None:
        await world.transport.start()
        await world.transport.publish(Topic.EVENTS, [Record(b"k", b"1")], 5)
        await world.source.start()
        running = asyncio.create_task(world.loop.run())
        await turns(lambda: world.loop.away)
        world.loop.stop()
        await running

    asyncio.run(run())
    assert world.committed == 0


def test_how_far_behind_it_is_can_be_told() -> None:
    """While the database is away the oldest record at hand is known by its time; caught up there is none."""
    world = World(Steps(*[Away()] * 3), b"1", b"2")

    async def play() -> tuple[int | None, int | None]:
        await world.transport.start()
        await world.transport.publish(Topic.EVENTS, [Record(b"k", value) for value in world.values], 5)
        await world.source.start()
        running = asyncio.create_task(world.loop.run())
        await turns(lambda: world.loop.away)
        behind = world.loop.working_at_ms
        await world.loop.caught_up.wait()
        caught_up = world.loop.working_at_ms
        world.loop.stop()
        await running
        return behind, caught_up

    assert asyncio.run(play()) == (5, None)
