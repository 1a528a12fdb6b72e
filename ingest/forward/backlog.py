"""How much waits: known from a look every few seconds, and counted on between two looks."""

from collections.abc import Awaitable, Callable

Lag = Callable[[], Awaitable[int | None]]
"""Returns how many records a source has still to take, None where that cannot be told for now."""


class Backlog:
    """Records that wait on the two topics, of the partitions that this process has."""

    def __init__(self, forward: Lag, parked: Lag) -> None:
        self._lag_of_forward = forward
        self._lag_of_parked = parked
        self.forward = 0
        self.parked = 0

    async def look(self) -> None:
        """Count anew; what cannot be told keeps its last number."""
        forward, parked = await self._lag_of_forward(), await self._lag_of_parked()
        self.forward = self.forward if forward is None else forward
        self.parked = self.parked if parked is None else parked
