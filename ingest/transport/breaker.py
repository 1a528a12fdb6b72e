"""The switch between Kafka and the spool: open while Kafka is not trusted to acknowledge."""

import time

import structlog

_log = structlog.get_logger(__name__)


class Breaker:
    """Opened by whoever was not acknowledged, closed by whoever was."""

    def __init__(self) -> None:
        self.is_open = False
        self.reason = ""
        """Why it is open; empty while it is closed."""
        self.trips_total = 0
        self._opened_s = 0.0

    @property
    def open_for_s(self) -> float:
        """How long it has been open without a break, 0 while it is closed."""
        return time.monotonic() - self._opened_s if self.is_open else 0.0

    def trip(self, reason: str) -> None:
        """Trust Kafka no longer, because of `reason`."""
        if not self.is_open:
            self.trips_total += 1
            self._opened_s = time.monotonic()
            _log.warning("breaker_opened", reason=reason)
        self.is_open = True
        self.reason = reason

    def close(self) -> None:
        """Trust Kafka again."""
        if self.is_open:
            _log.warning("breaker_closed")
        self.is_open = False
        self.reason = ""
