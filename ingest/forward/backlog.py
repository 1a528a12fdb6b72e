"""How much is parked: known from a look every few seconds, and counted on between two looks."""

from collections.abc import Callable


class Backlog:
    """Records that wait on the two topics, of the partitions that this process has; `lags` are as of the last look."""

    def __init__(self, forward: Callable[[], int | None], parked: Callable[[], int | None]) -> None:
        self._forward = forward
        self._parked = parked
        self._parked_at_look = 0
        self._parked_since = 0

    @property
    def forward(self) -> int:
        """Records that have still to be taken."""
        return self._forward() or 0

    @property
    def parked(self) -> int:
        """Records that are parked."""
        looked = self._parked() or 0
        if looked != self._parked_at_look:
            self._parked_at_look, self._parked_since = looked, 0
        return looked + self._parked_since

    def add(self, parked: int) -> None:
        """Count what was parked since the last look."""
        self._parked_since += parked
