from hypothesis import given
from hypothesis import strategies as st

from ingest.notify.backoff import FIRST_S, LONGEST_S, delay_s


@given(st.integers(1, 10**9), st.floats(0, 1))
def test_a_wait_is_bounded(attempts: int, drawn: float) -> None:
    """A wait is between half of the first and the cap, and jitter takes half of it at most."""
    longest = delay_s(attempts, lambda: 1.0)

    assert FIRST_S / 2 <= longest / 2 <= delay_s(attempts, lambda: drawn) <= longest <= LONGEST_S


@given(st.integers(1, 10**9))
def test_waits_grow(attempts: int) -> None:
    """Each wait is twice the one before, until the cap is reached."""
    assert delay_s(attempts + 1, lambda: 1.0) == min(2 * delay_s(attempts, lambda: 1.0), LONGEST_S)


def test_the_first_wait_and_the_cap() -> None:
    """The first retry comes within ten seconds, and none is more than a quarter of an hour away."""
    assert delay_s(1, lambda: 0.0) == 5
    assert delay_s(1, lambda: 1.0) == 10
    assert delay_s(100, lambda: 1.0) == 900
