"""An app at a platform: how much may be sent there at once, and whether anything may be sent now."""

import enum
from collections.abc import Callable
from typing import Final

from ingest.clock import Clock
from ingest.conversion import Platform

WIDTH_MAX: Final = 16
"""Calls to one destination at the same time."""

FAILURES_MAX: Final = 5
"""So many failures in a row pause a destination."""

REFUSALS_MAX: Final = 50
"""So many single events refused in a row, and none taken: something else is wrong than the events."""

PAUSE_MIN_MS: Final = 5_000
PAUSE_MAX_MS: Final = 300_000
DEAD_PAUSE_MS: Final = 60_000
"""After which one call finds out whether an operator has mended what was wrong."""


class State(enum.StrEnum):
    """How it goes with a destination."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    PAUSED = "paused"


class Destination:
    """The breaker of one destination. While it is `held`, for a reason of ours, nothing is sent and nothing tried."""

    def __init__(self, app_id: str, platform: Platform, clock: Clock, jitter: Callable[[], float]) -> None:
        self.app_id = app_id
        self.platform = platform
        self.held = ""
        self.last_success_ms: int | None = None
        self._clock = clock
        self._jitter = jitter
        self._trouble = ""
        self._dead_token: str | None = None
        self._width = WIDTH_MAX
        self._failures = 0
        self._refusals = 0
        self._pauses = 0
        self._paused_until_ms: int | None = None
        self._asked_until_ms: int | None = None

    @property
    def state(self) -> State:
        """How it goes now. A destination stays paused until a call has succeeded."""
        if self.held or self._paused_until_ms is not None:
            return State.PAUSED
        return State.DEGRADED if self._trouble else State.HEALTHY

    @property
    def reason(self) -> str:
        """Why it is not healthy, a code."""
        return self.held or self._trouble

    def room(self, *, probing: bool) -> int:
        """Return how many calls may be under way.

        While paused there is none, and after the pause one for whoever is `probing`: he has time to wait for an answer
        that may not come.
        """
        if self.held:
            return 0
        if self._paused_until_ms is None:
            return self._width
        return int(probing and self._clock.monotonic_ms() >= self._paused_until_ms)

    def asked_ms(self) -> int:
        """Return for how long no call may begin, because the platform has asked for that."""
        return max(0, (self._asked_until_ms or 0) - self._clock.monotonic_ms())

    def taken(self) -> None:
        """Note that a call was accepted."""
        self.last_success_ms = self._clock.now_ms()
        self._failures = self._refusals = self._pauses = 0
        self._paused_until_ms = None
        self._width = min(WIDTH_MAX, self._width + 1)
        if self._width == WIDTH_MAX:
            self._trouble = ""

    def refused(self, code: str) -> None:
        """Note that a single event was refused."""
        self._refusals += 1
        if self._refusals >= REFUSALS_MAX:
            self._refusals = 0
            self._pause(f"refuses_all:{code}", self._growing_ms())

    def failed(self, code: str, *, throttled: bool = False, after_s: float | None = None) -> None:
        """Note that a call may succeed later, after `after_s` where the platform tells that.

        Calls that were under way when a pause began do not make it longer.
        """
        if after_s is not None:
            asked_until_ms = self._clock.monotonic_ms() + round(after_s * 1000)
            self._asked_until_ms = max(asked_until_ms, self._asked_until_ms or asked_until_ms)
        self._trouble = code
        if self._paused_until_ms is not None and self._clock.monotonic_ms() < self._paused_until_ms:
            return
        self._failures += 1
        self._width = max(1, self._width // 2) if throttled else self._width
        if self._failures >= FAILURES_MAX or self._paused_until_ms is not None:
            self._pause(code, self._growing_ms())

    def stopped(self, code: str, token: str) -> None:
        """Note that nothing is taken, with this token, until an operator has mended something."""
        self._dead_token = token
        self._pause(code, DEAD_PAUSE_MS)

    def sees(self, token: str) -> None:
        """Note the token that would be used: another one than that which was refused ends the pause."""
        if self._dead_token not in {None, token}:
            self._dead_token = self._paused_until_ms = None

    def _growing_ms(self) -> int:
        self._pauses += 1
        return int(min(PAUSE_MAX_MS, PAUSE_MIN_MS * 2.0 ** (self._pauses - 1)))

    def _pause(self, reason: str, pause_ms: int) -> None:
        self._trouble = reason
        self._failures = 0
        self._paused_until_ms = self._clock.monotonic_ms() + int(pause_ms * (0.75 + self._jitter() / 2))
