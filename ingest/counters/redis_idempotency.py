"""Entries of idempotent work in Valkey, for all workers and hosts."""

import msgspec

from ingest.counters.cache import Cache, CacheAway
from ingest.counters.idempotency import KEPT_S, LEASE_S, Claim, Claimed, Entry, StoredAs, standing

_decoder = msgspec.json.Decoder(Entry)


class RedisIdempotency:
    """Each call is one command, so that nothing comes in between. Needs Valkey, or Redis 7."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    async def claim(self, name: str, body_sha256: str) -> Claim:
        """Begin the work, unless it was begun before. Raises `CacheAway`, also for an entry that cannot be read."""
        claim = msgspec.json.encode(Entry(body_sha256, "running"))
        held = await self._cache.ask(lambda client: client.set(name, claim, nx=True, get=True, ex=LEASE_S))
        if held is None:
            return Claimed()
        assert isinstance(held, bytes)
        try:
            return standing(_decoder.decode(held), body_sha256)
        except msgspec.MsgspecError:
            raise CacheAway from None

    async def finish(self, name: str, body_sha256: str, status: int, stored: StoredAs | None = None) -> None:
        """Remember that the work was done. Raises `CacheAway`."""
        done = msgspec.json.encode(Entry(body_sha256, "done", status, stored))
        await self._cache.ask(lambda client: client.set(name, done, ex=KEPT_S))

    async def free(self, name: str) -> None:
        """Forget the entry. Raises `CacheAway`."""
        await self._cache.ask(lambda client: client.delete(name))
