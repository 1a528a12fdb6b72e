"""The clocks."""

import pytest

from ingest.clock import FakeClock, SystemClock


def test_fake_clock() -> None:
    """The fake clock moves as told, its monotonic side never back; the system's clock runs."""
    clock = FakeClock(now_ms=1_000)
    clock.advance(250)
    clock.set_now_ms(10)
    assert (clock.now_ms(), clock.monotonic_ms()) == (10, 250)
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)
    system = SystemClock()
    assert system.now_ms() > 1_700_000_000_000
    assert system.monotonic_ms() <= system.monotonic_ms()
