"""Valkey as the rest of the room sees it: asked with a bounded wait, left alone while it is away."""

from asyncio import timeout
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ingest.clock import Clock

WAIT_S: Final = 0.25
"""Longest wait for an answer, connecting included."""

PAUSE_MS: Final = 1_000
"""How long Valkey is left alone after a failure; then one call tries, and the others follow when it is answered."""

_T = TypeVar("_T")

_log = structlog.get_logger(__name__)


class CacheAway(Exception):  # noqa: N818 - a state that callers have an answer for
    """Valkey did not answer in time, answered with an error, or is being left alone."""


class Cache:
    """One process's view of Valkey, shared by all that it keeps there, so that one failure is learned once.

    One event loop calls everything. `wait_s` bounds each call.
    """

    def __init__(self, client: Redis, clock: Clock, *, wait_s: float = WAIT_S) -> None:
        self.client = client
        self.failures_total = 0
        self._clock = clock
        self._wait_s = wait_s
        self._away_until_ms: int | None = None
        self._trying = False

    @property
    def away(self) -> bool:
        """Whether the last answer failed to come, and none has come since."""
        return self._away_until_ms is not None

    async def ask(self, call: Callable[[Redis], Awaitable[_T]]) -> _T:
        """Return what `call` gets. Raises `CacheAway` within the wait, or at once while Valkey is left alone."""
        trial = self.away
        if trial:
            self._begin_trial()
        try:
            async with timeout(self._wait_s):
                answer = await call(self.client)
        except (RedisError, OSError) as error:
            self._failed(error, trial=trial)
            raise CacheAway from None
        finally:
            if trial:
                self._trying = False
        if trial:
            self._away_until_ms = None
            _log.warning("cache_back")
        return answer

    async def close(self) -> None:
        """End all connections. A second call is harmless."""
        await self.client.aclose()

    def _begin_trial(self) -> None:
        assert self._away_until_ms is not None
        if self._trying or self._clock.monotonic_ms() < self._away_until_ms:
            raise CacheAway
        self._trying = True

    def _failed(self, error: Exception, *, trial: bool) -> None:
        self.failures_total += 1
        if not self.away:
            _log.warning("cache_away", error=error)
        elif not trial:
            return  # it was under way when another call failed: that one has said all of it
        self._away_until_ms = self._clock.monotonic_ms() + PAUSE_MS
