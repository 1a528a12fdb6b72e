"""What forwarding shows: every outcome once, every destination's state, and a bound on all of it."""

from ingest.clock import FakeClock
from ingest.conversion import Platform
from ingest.forward.destination import Destination, State
from ingest.forward.figures import ForwardFigures
from ingest.forward.job import Key
from ingest.forward.outcome import Fate, Outcome, Skip
from ingest.telemetry.exposition import expose
from ingest.telemetry.metric import Process
from ingest.telemetry.snapshot import Sample, Snapshot
from tests.ingest.forward.world import World, job

META, TIKTOK = Platform.META, Platform.TIKTOK
SENT = Outcome(Fate.SENT)
OUTCOMES = "ingest_forward_outcomes_total"
STATE = "ingest_forward_destination_state"
SUCCESS = "ingest_forward_last_success_timestamp_seconds"


def key(app_id: str = "app_a", platform: Platform = META) -> Key:
    """Return the key of some delivery."""
    return Key(app_id, "e-1", "2026-01-01T00:00:00Z", platform)


def shown(samples: list[Sample], metric: str) -> dict[tuple[str, ...], float]:
    """Return one metric by its labels."""
    return {each.labels: each.value for each in samples if each.metric == metric}


def counted(figures: ForwardFigures) -> dict[tuple[str, ...], float]:
    """Return the outcomes by their labels."""
    return shown(figures.samples((), 0), OUTCOMES)


def destination(app_id: str, *, taken_at_ms: int | None = None) -> Destination:
    """Return a destination that took something at a time, or never."""
    clock = FakeClock(now_ms=taken_at_ms or 0)
    made = Destination(app_id, META, clock, lambda: 0.5)
    if taken_at_ms is not None:
        made.taken()
    return made


def test_each_outcome_counts_once() -> None:
    """Outcomes of one app, platform, fate and reason are one series."""
    figures = ForwardFigures()
    for _ in range(3):
        figures.count(key(), SENT)
    figures.count(key(platform=TIKTOK), Outcome(Fate.SKIPPED, Skip.ERASED))
    figures.count(key("app_b"), Outcome(Fate.REFUSED, "100/2804003"))

    assert counted(figures) == {
        ("app_a", "meta", "sent", ""): 3,
        ("app_a", "tiktok", "skipped", "erased"): 1,
        ("app_b", "meta", "refused", "100/2804003"): 1,
    }


def test_it_counts_what_a_ledger_tells() -> None:
    """Given to a ledger, it counts what was forwarded."""
    world, figures = World(), ForwardFigures()
    world.ledger._count = figures.count
    assert world.forward([job("e-1"), job("e-2")]) == []

    assert counted(figures) == {("app_a", "meta", "sent", ""): 2}


def test_codes_are_bounded() -> None:
    """Codes beyond the bound, and what does not look like one, count as `other`; words of ours need no room."""
    figures = ForwardFigures(codes_max=2)
    for code in ("1", "2", "3", "4", "1", "no code: somebody@example.com", "x" * 65):
        figures.count(key(), Outcome(Fate.REFUSED, code))
    figures.count(key(), Outcome(Fate.SKIPPED, Skip.TOO_OLD))
    figures.count(key(), Outcome(Fate.EXPIRED, "parked_full"))

    assert counted(figures) == {
        ("app_a", "meta", "refused", "1"): 2,
        ("app_a", "meta", "refused", "2"): 1,
        ("app_a", "meta", "refused", "other"): 4,
        ("app_a", "meta", "skipped", "too_old"): 1,
        ("app_a", "meta", "expired", "parked_full"): 1,
    }


def test_series_are_bounded() -> None:
    """Beyond the bound apps count together, those that have a series keep it, and nothing is left uncounted."""
    figures = ForwardFigures(series_max=5)
    for number in range(100):
        figures.count(key(f"app_{number}"), SENT)
    for _ in range(2):
        figures.count(key("app_0"), SENT)

    assert counted(figures) == {
        **{(f"app_{number}", "meta", "sent", ""): 1 for number in range(1, 5)},
        ("app_0", "meta", "sent", ""): 3,
        ("other", "meta", "sent", ""): 95,
    }


def test_an_app_that_is_not_registered_has_no_series() -> None:
    """Whatever a record calls its app, only the registry makes series."""
    figures = ForwardFigures()
    for number in range(3):
        figures.count(key(f"stranger {number}"), Outcome(Fate.SKIPPED, Skip.APP_UNKNOWN))

    assert counted(figures) == {("other", "meta", "skipped", "app_unknown"): 3}


def test_destinations_are_shown_in_their_state() -> None:
    """One state of each is 1, and the last success is there once there was one."""
    healthy, paused = destination("app_a", taken_at_ms=5_000), destination("app_b")
    paused.stopped("190", "token")
    samples = ForwardFigures().samples([healthy, paused], 7)

    assert shown(samples, STATE) == {
        ("app_a", "meta", "healthy"): 1,
        ("app_a", "meta", "degraded"): 0,
        ("app_a", "meta", "paused"): 0,
        ("app_b", "meta", "healthy"): 0,
        ("app_b", "meta", "degraded"): 0,
        ("app_b", "meta", "paused"): 1,
    }
    assert shown(samples, SUCCESS) == {("app_a", "meta"): 5.0}
    assert shown(samples, "ingest_forward_parked_records") == {(): 7}


def test_destinations_are_bounded() -> None:
    """Beyond the bound they are shown together: how many are in each state, and the earliest success."""
    many = [destination(f"app_{number}", taken_at_ms=1_000 * (9 - number)) for number in range(4)]
    many[3].stopped("190", "token")
    samples = ForwardFigures(series_max=len(State)).samples(many, 0)

    assert shown(samples, STATE) == {
        ("app_0", "meta", "healthy"): 1,
        ("app_0", "meta", "degraded"): 0,
        ("app_0", "meta", "paused"): 0,
        ("other", "meta", "healthy"): 2,
        ("other", "meta", "degraded"): 0,
        ("other", "meta", "paused"): 1,
    }
    assert shown(samples, SUCCESS) == {("app_0", "meta"): 9.0, ("other", "meta"): 6.0}


def test_prometheus_is_shown_plain_words() -> None:
    """Enumerations stand in the exposition by their values."""
    figures = ForwardFigures()
    figures.count(key(), Outcome(Fate.SKIPPED, Skip.NO_USER))
    text = expose(Snapshot(tuple(figures.samples([destination("app_a")], 0))), Process.FORWARD).decode()

    assert f'{OUTCOMES}{{app="app_a",fate="skipped",platform="meta",reason="no_user"}} 1.0' in text
    assert f'{STATE}{{app="app_a",platform="meta",state="healthy"}} 1.0' in text
