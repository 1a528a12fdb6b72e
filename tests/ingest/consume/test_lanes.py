"""Several loops in one process: what they tell an operator of themselves."""

import asyncio
from collections.abc import Sequence

import pytest

from ingest.clock import FakeClock
from ingest.consume.dead_letter import DeadLetters
from ingest.consume.figures import lane_samples
from ingest.consume.lanes import Lane, Lanes
from ingest.consume.loop import POISON_FREE, Brake, Loop
from ingest.consume.step import Away
from ingest.event import Record
from ingest.telemetry.snapshot import Sample
from ingest.transport.contract import Delivered, Topic, Unavailable
from ingest.transport.memory import MemorySource, MemoryTransport
from ingest.transport.sealed import SealKeys
from tests.ingest.consume.test_loop import Steps, turns


class FlakySource(MemorySource):
    """A source that cannot be read as long as `is_away`, nor begun as long as it has `starts_away` left."""

    is_away = False
    starts_away = 0

    async def start(self) -> None:
        """Begin."""
        if self.starts_away:
            self.starts_away -= 1
            raise Unavailable
        await super().start()

    async def poll(self, records_max: int, wait_ms: int) -> Sequence[Delivered]:
        """Return what is there; waits for nothing."""
        await asyncio.sleep(0)
        if self.is_away:
            raise Unavailable
        return await super().poll(records_max, min(wait_ms, 1))


class World:
    """A lane for each step, over one transport."""

    def __init__(self, **steps: Steps) -> None:
        self.transport = MemoryTransport()
        letters = DeadLetters(self.transport, SealKeys(bytes(32)), "test", FakeClock())
        topics = {Topic[name.upper()]: step for name, step in steps.items()}
        self.sources = {topic: FlakySource(self.transport, topic, "test") for topic in topics}
        self.lanes = Lanes(
            [
                Lane(topic, self.sources[topic], Loop(self.sources[topic], step, letters, jitter=lambda: -1.0))
                for topic, step in topics.items()
            ],
            lag_s=0.0,
        )

    async def begin(self, topic: Topic = Topic.EVENTS, *values: bytes) -> "asyncio.Task[None]":
        """Publish records and run."""
        await self.transport.start()
        await self.transport.publish(topic, [Record(b"k", value) for value in values], 5_000)
        return asyncio.create_task(self.lanes.run())

    async def end(self, running: "asyncio.Task[None]") -> None:
        """Stop, and wait for the end."""
        self.lanes.stop()
        await running


def cause(error: Exception, behind: Exception) -> Exception:
    """Return an error with another one behind it."""
    error.__cause__ = behind
    return error


def test_lanes_that_run_have_nothing_to_tell() -> None:
    """Before they run each tells that it does not, and after a stop the process tells that."""
    world = World(events=Steps(), consent=Steps())

    async def play() -> None:
        assert world.lanes.reasons() == ["not read yet: events", "not read yet: consent"]
        running = await world.begin()
        await turns(lambda: not world.lanes.reasons())
        await world.end(running)
        assert world.lanes.reasons() == ["the process is stopping"]

    asyncio.run(play())


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (Away(), "the database is away"),
        (cause(Away(), Unavailable()), "the transport is away"),
        (Unavailable(), "the transport is away"),
        (OSError(), "the transport is away"),
    ],
)
def test_what_is_away_is_told_and_goes(failure: Exception, reason: str) -> None:
    """While records cannot be done the reason is that, by whatever is away, and it goes with the end of that."""
    step = Steps(*[failure] * 50)
    world = World(events=step)

    async def play() -> None:
        running = await world.begin(Topic.EVENTS, b"1")
        await turns(lambda: world.lanes.reasons() == [reason])
        step.failures.clear()
        await turns(lambda: not world.lanes.reasons())
        await world.end(running)

    asyncio.run(play())


def test_a_transport_that_is_back_is_told_without_a_record() -> None:
    """A topic on which nothing comes is ready again as soon as it can be read."""
    world = World(events=Steps())

    async def play() -> None:
        running = await world.begin()
        await turns(lambda: not world.lanes.reasons())
        world.sources[Topic.EVENTS].is_away = True
        await turns(lambda: world.lanes.reasons() == ["the transport is away"])
        world.sources[Topic.EVENTS].is_away = False
        await turns(lambda: not world.lanes.reasons())
        await world.end(running)

    asyncio.run(play())


def test_a_lane_that_could_not_begin_is_told() -> None:
    """One topic that cannot be read is named, while the others run."""
    world = World(events=Steps(), consent=Steps())
    world.sources[Topic.CONSENT].starts_away = 10**6

    async def play() -> None:
        running = await world.begin()
        await turns(lambda: world.lanes.reasons() == ["not read yet: consent"])
        await world.end(running)

    asyncio.run(play())


def test_the_brake_is_told() -> None:
    """Whoever asks before the process has ended learns why it does."""
    world = World(events=Steps())

    async def play() -> None:
        running = await world.begin(Topic.EVENTS, *[b"bad"] * (POISON_FREE + 1))
        with pytest.raises(Brake):
            await running
        assert world.lanes.reasons() == ["the process is stopping", "too many records cannot be used"]

    asyncio.run(play())


def shown(samples: list[Sample], topic: str) -> dict[str, float]:
    """Return the figures of one topic."""
    prefix = "ingest_consumer_"
    return {each.metric.removeprefix(prefix): each.value for each in samples if each.labels == (topic,)}


def test_figures_of_lanes() -> None:
    """Each topic has its own: what was taken, done and set aside, and how old what is at hand is."""
    step = Steps()
    world = World(events=step, consent=Steps(*[Away()] * 10**4))
    clock = FakeClock(now_ms=12_000)

    async def play() -> list[Sample]:
        running = await world.begin(Topic.EVENTS, b"1", b"2", b"bad")
        await world.transport.publish(Topic.CONSENT, [Record(b"k", b"1")], 7_000)
        events, consent = world.lanes
        await turns(lambda: consent.loop.away and events.loop.done == 2 and events.loop.working_at_ms is None)
        await turns(lambda: world.lanes.lag(Topic.EVENTS) is not None)
        samples = list(lane_samples(world.lanes, clock))
        await world.end(running)
        return samples

    samples = asyncio.run(play())
    assert shown(samples, "events") == {
        "records_taken_total": 3,
        "records_done_total": 2,
        "records_set_aside_total": 1,
        "away": 0,
        "oldest_age_seconds": 0.0,
        "lag_records": 0,
    }
    assert shown(samples, "consent") == {
        "records_taken_total": 1,
        "records_done_total": 0,
        "records_set_aside_total": 0,
        "away": 1,
        "oldest_age_seconds": 5.0,
        "lag_records": 0,
    }


def test_a_clock_that_is_behind_makes_no_negative_age() -> None:
    """Records from the future are of no age."""
    world = World(events=Steps(*[Away()] * 10**4))

    async def play() -> list[Sample]:
        running = await world.begin(Topic.EVENTS, b"1")
        await turns(lambda: bool(world.lanes.reasons() == ["the database is away"]))
        samples = list(lane_samples(world.lanes, FakeClock(now_ms=1_000)))
        await world.end(running)
        return samples

    assert shown(asyncio.run(play()), "events")["oldest_age_seconds"] == 0.0
