"""Time as a thing that is passed in, so that tests and twins decide what time it is."""

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time. Both calls are cheap and never block."""

    def now_ms(self) -> int:
        """Return the Unix time in milliseconds; it may jump when the machine's clock is set."""

    def monotonic_ms(self) -> int:
        """Return milliseconds since an arbitrary start; it never goes back. Deadlines and ages are measured with it."""


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        """Return the Unix time in milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        """Return milliseconds since an arbitrary start."""
        return time.monotonic_ns() // 1_000_000


class FakeClock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self, now_ms: int = 1_767_225_600_000, monotonic_ms: int = 0) -> None:
        self._now_ms = now_ms
        self._monotonic_ms = monotonic_ms

    def now_ms(self) -> int:
        """Return the time that was set."""
        return self._now_ms

    def monotonic_ms(self) -> int:
        """Return the start and all that was advanced."""
        return self._monotonic_ms

    def advance(self, ms: int) -> None:
        """Let `ms` milliseconds pass on both clocks. Raises `ValueError` when time would go back."""
        if ms < 0:
            raise ValueError("time does not go back; set_now_ms moves the wall clock alone")
        self._now_ms += ms
        self._monotonic_ms += ms

    def set_now_ms(self, now_ms: int) -> None:
        """Set the wall clock alone, as an operator or NTP does."""
        self._now_ms = now_ms
