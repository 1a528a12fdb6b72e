"""The breaker of a destination: how much may be sent, and what is told of it."""

from ingest.clock import FakeClock
from ingest.conversion import Platform
from ingest.forward.destination import (
    DEAD_PAUSE_MS,
    FAILURES_MAX,
    PAUSE_MAX_MS,
    PAUSE_MIN_MS,
    WIDTH_MAX,
    Destination,
    State,
)


def destination(clock: FakeClock) -> Destination:
    """Return a destination without jitter."""
    return Destination("app_a", Platform.META, clock, lambda: 0.5)


def told(one: Destination) -> tuple[State, str, int]:
    """Return all that is told of it."""
    return one.state, one.reason, one.room(probing=True)


def test_throttling_halves_what_is_sent_at_once() -> None:
    """Every success lets one more call come back, and with the last one it is healthy again."""
    one = destination(FakeClock())
    one.failed("4", throttled=True)
    halved = told(one)
    one.taken()
    grown = told(one)
    for _ in range(WIDTH_MAX):
        one.taken()

    assert halved == (State.DEGRADED, "4", WIDTH_MAX // 2)
    assert grown == (State.DEGRADED, "4", WIDTH_MAX // 2 + 1)
    assert told(one) == (State.HEALTHY, "", WIDTH_MAX)


def test_there_is_always_room_for_one_call() -> None:
    """However often it is throttled, short of a pause."""
    one = destination(FakeClock())
    for _ in range(FAILURES_MAX - 1):
        one.failed("4", throttled=True)

    assert told(one) == (State.DEGRADED, "4", 1)


def test_pauses_grow_up_to_a_bound_and_end_with_a_success() -> None:
    """After each pause one call finds out."""
    clock = FakeClock()
    one = destination(clock)
    for _ in range(FAILURES_MAX):
        one.failed("timeout")
    pauses = []
    for _ in range(10):
        begun = clock.monotonic_ms()
        assert told(one) == (State.PAUSED, "timeout", 0)
        while not one.room(probing=True):
            clock.advance(1_000)
        pauses.append(clock.monotonic_ms() - begun)
        assert told(one) == (State.PAUSED, "timeout", 1)
        one.failed("timeout")
    clock.advance(PAUSE_MAX_MS)
    one.taken()

    assert pauses == [min(PAUSE_MAX_MS, PAUSE_MIN_MS * 2**number) for number in range(10)]
    assert told(one) == (State.HEALTHY, "", WIDTH_MAX)


def test_calls_that_fail_together_pause_once() -> None:
    """However many were under way when a platform went away, the first pause is the shortest one."""
    clock = FakeClock()
    one = destination(clock)
    for _ in range(WIDTH_MAX):
        one.failed("http_503")
    clock.advance(PAUSE_MIN_MS - 1)
    before = told(one)
    clock.advance(1)

    assert before == (State.PAUSED, "http_503", 0)
    assert told(one) == (State.PAUSED, "http_503", 1)


def test_only_another_token_ends_the_pause_of_a_dead_one() -> None:
    """The same token is tried again after the pause, another one at once."""
    clock = FakeClock()
    one = destination(clock)
    one.stopped("190", "old")
    one.sees("old")
    before = told(one)
    one.sees("new")

    assert before == (State.PAUSED, "190", 0)
    assert told(one) == (State.DEGRADED, "190", WIDTH_MAX)
    one.stopped("190", "new")
    clock.advance(DEAD_PAUSE_MS)
    assert told(one) == (State.PAUSED, "190", 1)


def test_only_who_has_time_for_it_finds_out() -> None:
    """Nobody else waits for a platform that may not answer, however long its pause has been over."""
    clock = FakeClock()
    one = destination(clock)
    one.stopped("190", "token")
    clock.advance(10 * DEAD_PAUSE_MS)

    assert (one.room(probing=False), one.room(probing=True)) == (0, 1)
    one.taken()
    assert one.room(probing=False) == WIDTH_MAX


def test_what_is_held_is_not_even_tried() -> None:
    """The reason that holds it is told before the trouble that it had."""
    clock = FakeClock()
    one = destination(clock)
    one.failed("timeout")
    one.held = "killed"
    held = told(one)
    one.held = ""

    assert held == (State.PAUSED, "killed", 0)
    assert told(one) == (State.DEGRADED, "timeout", WIDTH_MAX)


def test_the_longest_pause_that_was_asked_for_counts() -> None:
    """Answers to several calls at once may ask for different ones; a failure that asks for none ends none."""
    clock = FakeClock()
    one = destination(clock)
    asked = [one.asked_ms()]
    for after_s in (3.0, 2.0, None):
        one.failed("http_503", after_s=after_s)
        asked.append(one.asked_ms())
    clock.advance(3_000)

    assert [*asked, one.asked_ms()] == [0, 3_000, 3_000, 3_000, 0]
