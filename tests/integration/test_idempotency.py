"""What idempotent work leaves in a real Valkey, and what becomes of it without one."""

import asyncio

import msgspec
import pytest

from devservices.valkey import ValkeyServer
from ingest.clock import SystemClock
from ingest.counters.cache import CacheAway
from ingest.counters.idempotency import KEPT_S, LEASE_S, entry_name
from ingest.counters.redis_idempotency import RedisIdempotency
from tests.support.caches import open_cache

BODY = "1" * 64
NAME = entry_name("key", "POST /v1/events", "order-4711")


def test_an_entry_holds_four_members_and_nothing_of_the_client(valkey_url: str) -> None:
    """The name is a digest; the value has the body's digest, the state, the status and the promise; both expire."""

    async def story() -> None:
        async with open_cache(valkey_url, SystemClock()) as cache:
            store = RedisIdempotency(cache)
            await store.claim(NAME, BODY)
            running = await cache.client.get(NAME)
            assert LEASE_S - 10 <= await cache.client.ttl(NAME) <= LEASE_S
            await store.finish(NAME, BODY, 202, "spooled")
            done = await cache.client.get(NAME)
            assert KEPT_S - 10 <= await cache.client.ttl(NAME) <= KEPT_S
            assert await cache.client.keys() == [NAME.encode()]
        assert isinstance(running, bytes)
        assert isinstance(done, bytes)
        entry = {"body_sha256": BODY, "state": "running", "status": 0, "stored": None}
        assert msgspec.json.decode(running) == entry
        assert msgspec.json.decode(done) == {**entry, "state": "done", "status": 202, "stored": "spooled"}

    asyncio.run(story())


@pytest.mark.parametrize("value", [b"", b"{}", b"x", b'{"body_sha256":"1","state":"lost"}'])
def test_an_entry_that_cannot_be_read_is_no_answer(valkey_url: str, value: bytes) -> None:
    """What somebody else wrote under the name is neither a repeat nor a leave to begin."""

    async def story() -> None:
        async with open_cache(valkey_url, SystemClock()) as cache:
            await cache.client.set(NAME, value)
            with pytest.raises(CacheAway):
                await RedisIdempotency(cache).claim(NAME, BODY)

    asyncio.run(story())


def test_every_call_tells_that_valkey_is_away(own_valkey: ValkeyServer) -> None:
    """Without Valkey no call pretends to have done anything."""

    async def story() -> None:
        async with open_cache(own_valkey.url, SystemClock()) as cache:
            store = RedisIdempotency(cache)
            await store.claim(NAME, BODY)
            own_valkey.kill()
            for call in (store.claim(NAME, BODY), store.finish(NAME, BODY, 200), store.free(NAME)):
                with pytest.raises(CacheAway):
                    await call

    asyncio.run(story())


def test_a_wait_for_valkey_is_bounded(own_valkey: ValkeyServer) -> None:
    """A Valkey that takes connections and never answers does not hold up a claim."""

    async def story() -> None:
        own_valkey.pause()
        async with open_cache(own_valkey.url, SystemClock(), wait_s=0.25) as cache:
            with pytest.raises(CacheAway):
                await RedisIdempotency(cache).claim(NAME, BODY)
        own_valkey.resume()

    asyncio.run(story())
