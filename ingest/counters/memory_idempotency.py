"""Entries of idempotent work in this process alone, for an edge with one worker and no Valkey."""

from typing import Final

from ingest.clock import Clock
from ingest.counters.cache import CacheAway
from ingest.counters.idempotency import KEPT_S, LEASE_S, Claim, Claimed, Entry, StoredAs, standing

ENTRIES_MAX: Final = 100_000

_Kept = dict[str, tuple[Entry, int]]


class MemoryIdempotency:
    """At most `entries_max` running and as many done entries; a restart forgets all.

    Where there is no more room, the entry that was done first is forgotten before its time. A running one never is:
    then no work is begun (`CacheAway`).
    """

    def __init__(self, clock: Clock, *, entries_max: int = ENTRIES_MAX) -> None:
        self._clock = clock
        self._entries_max = entries_max
        # Entries of one kind last equally long, so in the order of their making the first to expire comes first.
        self._running: _Kept = {}
        self._done: _Kept = {}

    def __len__(self) -> int:
        return len(self._running) + len(self._done)

    async def claim(self, name: str, body_sha256: str) -> Claim:
        """Begin the work, unless it was begun before. Raises `CacheAway` where too much is running."""
        self._expire()
        held = self._done.get(name) or self._running.get(name)
        if held is not None:
            return standing(held[0], body_sha256)
        if len(self._running) >= self._entries_max:
            raise CacheAway
        self._running[name] = Entry(body_sha256, "running"), self._ends_ms(LEASE_S)
        return Claimed()

    async def finish(self, name: str, body_sha256: str, status: int, stored: StoredAs | None = None) -> None:
        """Remember that the work was done."""
        self._expire()
        await self.free(name)
        if len(self._done) >= self._entries_max:
            del self._done[next(iter(self._done))]
        self._done[name] = Entry(body_sha256, "done", status, stored), self._ends_ms(KEPT_S)

    async def free(self, name: str) -> None:
        """Forget the entry."""
        self._running.pop(name, None)
        self._done.pop(name, None)

    def _ends_ms(self, lasts_s: int) -> int:
        return self._clock.monotonic_ms() + lasts_s * 1_000

    def _expire(self) -> None:
        now_ms = self._clock.monotonic_ms()
        for kept in (self._running, self._done):
            while kept and next(iter(kept.values()))[1] <= now_ms:
                del kept[next(iter(kept))]
