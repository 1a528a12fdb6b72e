"""How many calls a key may make in a minute, counted in Valkey for all workers and hosts."""

import math
import time
from dataclasses import dataclass
from typing import Final

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter

from ingest.counters.cache import Cache, CacheAway
from ingest.counters.tiers import CALLS_PER_MINUTE_MAX, EndpointClass, Tier

KEY_PREFIX: Final = "ingest:calls"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a key stands in its minute: whether the call may go on, how many more may, and when a new minute begins.

    `reset_s` counts the seconds until then, rounded up; 0 where no minute has begun.
    """

    endpoint_class: EndpointClass
    limit: int
    remaining: int
    reset_s: int
    allowed: bool


class _CallsPerMinute(RateLimitItemPerMinute):
    """A limit whose counter is named by key and class alone, so that a change of tier does not start a new one."""

    def key_for(self, *identifiers: bytes | str | float) -> str:
        return ":".join(map(str, identifiers))


_LIMITS: Final = {which: _CallsPerMinute(calls) for which, calls in CALLS_PER_MINUTE_MAX.items()}


class RequestRate:
    """Fixed windows of one minute, which begin with a key's first call.

    Every call is counted in this process too. So while Valkey is away, counting goes on from what this process has
    seen of the minute; each process then grants the whole limit. What it counted alone is not added to Valkey later.
    Without a `cache` this process's count is the only one.
    """

    def __init__(self, cache: Cache | None = None) -> None:
        self._cache = cache
        self._own = FixedWindowRateLimiter(MemoryStorage())
        self._shared = self._own if cache is None else FixedWindowRateLimiter(_storage(cache))

    @property
    def local(self) -> bool:
        """Whether Valkey is configured and away, so that this process counts by itself."""
        return self._cache is not None and self._cache.away

    async def hit(self, key_id: str, tier: Tier, cls: EndpointClass) -> Standing:
        """Count one call and tell where the key stands; a call that is not `allowed` counts too."""
        own = await _count(self._own, key_id, tier, cls)
        if self._cache is None:
            return own
        try:
            return await self._cache.ask(lambda _: _count(self._shared, key_id, tier, cls))
        except CacheAway:
            return own

    async def peek(self, key_id: str, tier: Tier, cls: EndpointClass) -> Standing:
        """Tell where the key stands, and whether its next call may go on, without counting one."""
        if self._cache is not None:
            try:
                return await self._cache.ask(lambda _: _look(self._shared, key_id, tier, cls))
            except CacheAway:
                pass
        return await _look(self._own, key_id, tier, cls)


async def _count(limiter: FixedWindowRateLimiter, key_id: str, tier: Tier, cls: EndpointClass) -> Standing:
    allowed = await limiter.hit(_LIMITS[tier, cls], key_id, cls.value)
    seen = await _look(limiter, key_id, tier, cls)
    return Standing(cls, seen.limit, seen.remaining, max(1, seen.reset_s), allowed)


async def _look(limiter: FixedWindowRateLimiter, key_id: str, tier: Tier, cls: EndpointClass) -> Standing:
    limit = _LIMITS[tier, cls]
    stats = await limiter.get_window_stats(limit, key_id, cls.value)
    reset_s = math.ceil(stats.reset_time - time.time())
    return Standing(cls, limit.amount, stats.remaining, max(0, reset_s), allowed=stats.remaining > 0)


def _storage(cache: Cache) -> RedisStorage:
    # The connections are the cache's own, so the URL given here names no server and holds no secret.
    return RedisStorage(
        "async+redis://",
        implementation="redispy",
        key_prefix=KEY_PREFIX,
        connection_pool=cache.client.connection_pool,  # type: ignore[arg-type] # declared too narrowly by the library
    )
