"""Calls to one destination: cut, repeated, split, and never more of them than there may be."""

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.consume.step import Away
from ingest.conversion import Platform
from ingest.forward.deliver import EVENTS_MAX
from ingest.forward.destination import WIDTH_MAX
from ingest.forward.outcome import Fate, Outcome
from ingest.forward.platforms.contract import Call, Later, PlatformApi, Refused, Verdict
from tests.ingest.forward.world import World, app, job

REFUSED = Outcome(Fate.REFUSED, "100")
SENT = Outcome(Fate.SENT)


@given(st.integers(1, 300), st.data())
def test_bad_events_do_not_cost_their_neighbours(count: int, data: st.DataObject) -> None:
    """Each bad event is refused by itself, all others are sent, and few calls are needed for a single bad one."""
    world = World()
    bad = data.draw(st.sets(st.integers(0, count - 1), max_size=3))
    world.meta.bad = {f"e-{number}" for number in bad}

    left = world.forward([job(f"e-{number}") for number in range(count)])

    assert left == []
    expected = {f"e-{number}": REFUSED if number in bad else SENT for number in range(count)}
    assert world.outcomes() == expected
    assert sorted(world.meta.taken) == sorted(set(expected) - world.meta.bad)
    calls = math.ceil(count / EVENTS_MAX)
    assert len(world.meta.calls) <= calls + len(bad) * 2 * math.ceil(math.log2(EVENTS_MAX))


def test_a_call_is_made_again_after_a_growing_pause() -> None:
    """Pauses double, with jitter around them."""
    world = World()
    world.meta.answers = [Later("http_500"), Later("timeout"), Later("1")]

    assert world.forward([job()]) == []
    assert world.slept == [0.25, 0.5, 1.0]
    assert world.outcomes() == {"e-1": SENT}


def test_the_platform_may_ask_for_a_longer_pause() -> None:
    """It is kept where it ends in time; else the events wait elsewhere."""
    world = World()
    world.meta.answers = [Later("4", after_s=2.0, throttled=True)]
    assert world.forward([job()]) == []
    assert world.slept == [2.0]

    world.meta.answers = [Later("4", after_s=60.0, throttled=True)]
    assert world.forward([job("e-2")]) == [job("e-2")]
    assert world.slept == [2.0]


def test_a_pause_that_the_platform_asks_for_is_one_for_all() -> None:
    """What comes meanwhile for the same destination waits too, another destination does not; then all is sent."""
    world = World()
    world.apps["app_b"] = app("app_b")
    world.meta.answers = [Later("http_503", after_s=30.0)]
    first, second, other = job(), job("e-2"), job("e-3", app_id="app_b")

    assert world.forward([first]) == [first]
    assert world.forward([second, other]) == [second]
    assert world.meta.calls == [["e-1"], ["e-3"]]
    world.clock.advance(26_000)
    assert world.forward([first, second]) == []
    assert world.slept == [4.0]
    assert sorted(world.meta.taken) == ["e-1", "e-2", "e-3"]


def test_one_event_refused_again_and_again_is_no_fault_of_the_events() -> None:
    """Where every single event is refused, the destination is paused and its events wait."""
    world = World()
    jobs = [job(f"e-{number}") for number in range(400)]
    world.meta.bad = {each.key.event_id for each in jobs}

    left = world.forward(jobs)

    assert 50 <= len(world.outcomes()) < 70
    assert len(left) == 400 - len(world.outcomes())
    assert world.forwarder.destinations["app_a", Platform.META].reason == "refuses_all:100"


class Gate:
    """A caller whose calls end only when the gate opens; `most` is how many were under way together."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.opened = asyncio.Event()
        self.under_way = self.most = 0

    async def ask(self, api: PlatformApi, call: Call) -> Verdict:
        """See `Caller.ask`."""
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        if self.most == WIDTH_MAX:
            self.opened.set()
        await self.opened.wait()
        self.under_way -= 1
        return api.verdict(200, {}, call.body)


def test_calls_are_made_at_once_but_not_too_many() -> None:
    """So many calls are under way together, and no more, however much there is."""
    world = World()
    jobs = [job(f"e-{number}") for number in range(EVENTS_MAX * WIDTH_MAX * 2)]

    async def story() -> int:
        gate = Gate(world)
        world.delivery._caller = gate
        assert await world.forwarder.forward(jobs) == []
        return gate.most

    assert asyncio.run(story()) == WIDTH_MAX
    assert len(world.meta.taken) == len(jobs)


def test_what_is_on_the_wire_is_not_abandoned() -> None:
    """Where the end of one call cannot be kept, the others still end, and all are remembered."""
    world = World()
    jobs = [job(f"e-{number}") for number in range(EVENTS_MAX * 3)]
    world.caller.before = lambda: setattr(world.deliveries, "away", 9)

    with pytest.raises(Away):
        world.forward(jobs)
    world.deliveries.away = 0

    assert len(world.meta.calls) == 3
    assert world.forward(jobs) == []
    assert len(world.meta.calls) == 3
    assert len(world.outcomes()) == len(jobs)


def test_a_large_event_has_a_call_to_itself() -> None:
    """Calls are cut by bytes too."""
    world = World()
    names = ["a" * 600_000, "b" * 600_000, "c"]

    assert world.forward([job(name) for name in names]) == []
    assert sorted(map(len, world.meta.calls)) == [1, 2]


def test_a_call_too_large_for_the_platform_is_split() -> None:
    """A refusal of the whole is split like any other."""
    world = World()
    world.meta.answers = [Refused("http_413")]

    assert world.forward([job(), job("e-2")]) == []
    assert sorted(world.meta.taken) == ["e-1", "e-2"]
