"""The switch between Kafka and the spool: open while Kafka is not trusted to acknowledge."""

import structlog

_log = structlog.get_logger(__name__)


class Breaker:
    """Opened by whoever was not acknowledged, closed by whoever was."""

    def __init__(self) -> None:
        self.is_open = False
        self.reason = ""
        """Why it is open; empty while it is closed."""
        self.trips_total = 0

    def trip(self, reason: str) -> None:
        """Trust Kafka no longer, because of `reason`."""
        if not self.is_open:
            self.trips_total += 1
            _log.warning("breaker_opened", reason=reason)
        self.is_open = True
        self.reason = reason

    def close(self) -> None:
        """Trust Kafka again."""
        if self.is_open:
            _log.warning("breaker_closed")
        self.is_open = False
        self.reason = ""
