"""From jobs to their ends: each to exactly one per platform, and what has none comes back."""

from typing import Any

import pytest

from ingest.consume.step import Away
from ingest.conversion import Platform
from ingest.forward.decide import KILLED, Hold
from ingest.forward.destination import State
from ingest.forward.job import jobs_of
from ingest.forward.outcome import Fate, Outcome, Skip
from ingest.forward.person import Person
from ingest.forward.platforms.contract import Dead, Later
from ingest.registry.model import Forward, Kills, MetaForward
from tests.ingest.forward.world import BOTH, World, app, job, record

SENT = Outcome(Fate.SENT)


def skipped(reason: Skip) -> Outcome:
    """Return the outcome of a skipped conversion."""
    return Outcome(Fate.SKIPPED, reason)


def test_each_platform_gets_its_own() -> None:
    """One conversion for two platforms ends twice, once at each."""
    world = World()

    left = world.forward(list(jobs_of(record(to=BOTH), 0)))

    assert left == []
    assert (world.meta.taken, world.tiktok.taken) == (["e-1"], ["e-1"])
    assert world.counts == {(Platform.META, SENT): 1, (Platform.TIKTOK, SENT): 1}


def test_a_repeat_is_sent_once() -> None:
    """Neither in one batch nor in a later one is a conversion sent again, and nothing is counted twice."""
    world = World()

    world.forward([job(), job(), job("e-2")])
    world.forward([job(), job("e-3")])

    assert sorted(world.meta.taken) == ["e-1", "e-2", "e-3"]
    assert world.counts == {(Platform.META, SENT): 3}


def test_what_another_lane_has_begun_is_not_begun_again() -> None:
    """While a delivery is under way, another lane of the process leaves it alone."""
    world = World()

    with world.ledger.under_way([job().key]):
        assert world.forward([job()]) == []
    assert world.meta.taken == []
    world.forward([job()])

    assert world.meta.taken == ["e-1"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"active": False}, Skip.APP_UNKNOWN),
        ({"forward": Forward()}, Skip.PLATFORM_OFF),
        ({"forward": Forward(MetaForward(False, "1"))}, Skip.PLATFORM_OFF),  # noqa: FBT003 - `enabled`
        ({"consent_required": True}, Skip.CONSENT_MISSING),
    ],
)
def test_what_an_app_does_not_want_is_skipped(options: dict[str, Any], reason: Skip) -> None:
    """The reason is kept with the conversion."""
    world = World()
    world.apps = {"app_a": app(**options)}

    assert world.forward([job()]) == []
    assert world.outcomes() == {"e-1": skipped(reason)}
    assert world.meta.calls == []


def test_an_unknown_app_is_skipped_only_by_a_registry_that_knows() -> None:
    """While the registry is away the app may be new, so its conversion waits."""
    world = World()
    world.apps, world.complete = {}, False

    assert world.forward([job()]) == [job()]
    world.complete = True
    assert world.forward([job()]) == []

    assert world.outcomes() == {"e-1": skipped(Skip.APP_UNKNOWN)}


@pytest.mark.parametrize(
    ("person", "options", "outcome"),
    [
        (Person(advertising=False), {}, skipped(Skip.CONSENT_DENIED)),
        (Person(advertising=True), {"consent_required": True}, SENT),
        (Person(is_erased=True, advertising=True), {}, skipped(Skip.ERASED)),
        (Person(), {}, SENT),
    ],
)
def test_the_user_decides(person: Person, options: dict[str, Any], outcome: Outcome) -> None:
    """A denial and an erasure win over everything; a consent is needed only where the app says so."""
    world = World()
    world.apps = {"app_a": app(**options)}
    world.people["e-1"] = person

    world.forward([job()])

    assert world.outcomes() == {"e-1": outcome}


@pytest.mark.parametrize(
    ("timestamp", "outcome"),
    [
        ("2025-12-25T00:00:01Z", SENT),
        ("2025-12-24T23:59:59Z", skipped(Skip.TOO_OLD)),
        ("2026-01-01T01:00:00Z", SENT),
        ("2026-01-01T01:00:01Z", skipped(Skip.IN_FUTURE)),
        ("2026-01-01t00:00:00", SENT),
        ("2026-01-01 02:00:00+02:00", SENT),
        ("2025-12-31T23:59:60Z", SENT),
    ],
)
def test_age_counts_when_it_is_sent(timestamp: str, outcome: Outcome) -> None:
    """Seven days back and an hour ahead, to the second, in every form that the edge takes."""
    world = World()

    world.forward([job(timestamp=timestamp)])

    assert world.outcomes() == {"e-1": outcome}


def test_what_the_platform_would_not_take_is_not_sent() -> None:
    """Its neighbours are."""
    world = World()
    world.meta.unfit["e-2"] = Skip.NO_VALUE

    world.forward([job(), job("e-2"), job("e-3")])

    assert world.outcomes() == {"e-1": SENT, "e-2": skipped(Skip.NO_VALUE), "e-3": SENT}


@pytest.mark.parametrize(
    ("kills", "options"),
    [
        (Kills(global_=True), {}),
        (Kills(organizations=frozenset(("org_a",))), {}),
        (Kills(platforms=frozenset((Platform.META,))), {}),
        (Kills(), {"kill_switch": True}),
    ],
)
def test_a_kill_switch_holds_what_it_concerns(kills: Kills, options: dict[str, Any]) -> None:
    """Nothing is sent and nothing lost; with the switch lifted the next look sends at once."""
    world = World()
    world.kills, world.apps = kills, {"app_a": app(**options)}

    left = world.forward([job()])
    held = world.forwarder.destinations["app_a", Platform.META]
    told = held.state, held.reason
    world.kills, world.apps = Kills(), {"app_a": app()}

    assert left == [job()]
    assert told == (State.PAUSED, KILLED.reason)
    assert world.forwarder.may_try("app_a", Platform.META)
    assert world.forward(left) == []
    assert held.state is State.HEALTHY


def test_a_kill_in_the_middle_stops_the_next_call() -> None:
    """Calls that have not begun are not made."""
    world = World()

    def kill() -> None:
        world.kills = Kills(global_=True)

    world.caller.before = kill
    jobs = [job(f"e-{number}") for number in range(1_000)]

    left = world.forward(jobs)

    assert len(world.meta.calls) == 1
    assert len(left) + len(world.meta.taken) == 1_000


def test_a_missing_token_holds_its_destination_alone() -> None:
    """The other platform of the same app gets its events."""
    world = World()
    world.tokens["app_a", Platform.META] = Hold("token_missing")

    left = world.forward(list(jobs_of(record(to=BOTH), 0)))

    assert [each.key.platform for each in left] == [Platform.META]
    assert world.tiktok.taken == ["e-1"]
    assert world.forwarder.destinations["app_a", Platform.META].reason == "token_missing"


def test_a_dead_token_pauses_until_another_one_is_there() -> None:
    """What comes meanwhile waits without a call; a new token is tried at once."""
    world = World()
    world.meta.answers = [Dead("190")]

    left = world.forward([job()])
    left += world.forward([job("e-2")])
    calls_before = len(world.meta.calls)
    world.tokens["app_a", Platform.META] = "another"

    assert calls_before == 1
    assert world.forward(left) == []
    assert world.meta.tokens == ["token", "another"]
    assert sorted(world.meta.taken) == ["e-1", "e-2"]


def test_a_paused_destination_is_tried_again_by_one_call() -> None:
    """After its pause one call of who has time for it finds out, and its success opens the rest to everybody."""
    world = World()
    world.meta.answers = [Dead("190")]
    left = world.forward([job()])
    world.clock.advance(61_000)
    new = job("e-2")

    assert world.forward([new]) == [new]
    assert len(world.meta.calls) == 1
    assert world.forward(left, probing=True) == []
    assert world.forwarder.destinations["app_a", Platform.META].state is State.HEALTHY
    assert world.forward([new]) == []


def test_failures_in_a_row_pause_a_destination() -> None:
    """What could not be sent in its time comes back, and is not tried again before the pause is over."""
    world = World()
    world.meta.answers = [Later("http_500")] * 100

    left = world.forward([job()])
    while world.forwarder.may_try("app_a", Platform.META):
        left = world.forward(left)
    calls = len(world.meta.calls)

    assert world.forward(left) == left
    assert len(world.meta.calls) == calls
    assert 5 <= calls <= 6
    assert world.outcomes() == {}


def test_ends_that_cannot_be_kept_are_not_forgotten() -> None:
    """The work is to be done again, and then nothing is sent a second time nor counted twice."""
    world = World()
    jobs = [job(f"e-{number}") for number in range(3)]
    opened = world.deliveries.ended

    async def then_away(keys: object) -> set[object]:
        world.deliveries.ended = opened  # type: ignore[method-assign]
        found = await opened(keys)  # type: ignore[arg-type]
        world.deliveries.away = 2
        return found  # type: ignore[return-value]

    world.deliveries.ended = then_away  # type: ignore[method-assign,assignment]
    with pytest.raises(Away):
        world.forward(jobs)
    world.deliveries.away = 0

    assert world.forward(jobs) == []
    assert sorted(world.meta.taken) == ["e-0", "e-1", "e-2"]
    assert world.counts == {(Platform.META, SENT): 3}
    assert len(world.outcomes()) == 3
