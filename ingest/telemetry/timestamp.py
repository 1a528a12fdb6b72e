"""Times as text: RFC 3339 in UTC with milliseconds."""

import time


class Timestamps:
    """Writes the present time; the part down to the second is kept, because lines come many to a second."""

    def __init__(self) -> None:
        self._last = (-1, "")

    def now(self) -> str:
        """Return the present time, as in `2026-11-24T02:06:24.189Z`."""
        return self.of(time.time_ns() // 1_000_000)

    def of(self, unix_ms: int) -> str:
        """Return the time `unix_ms`."""
        second, ms = divmod(unix_ms, 1_000)
        known, prefix = self._last
        if second != known:
            prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._last = (second, prefix)  # one assignment, because several threads log
        return f"{prefix}.{ms:03d}Z"
