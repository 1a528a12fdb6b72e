"""The bounds of idempotent work that is kept in memory; what it promises otherwise stands in the laws."""

import asyncio

import pytest

from ingest.clock import FakeClock
from ingest.counters.cache import CacheAway
from ingest.counters.idempotency import KEPT_S, LEASE_S, Claimed, Done
from ingest.counters.memory_idempotency import MemoryIdempotency


def test_the_oldest_that_is_done_makes_room() -> None:
    """Memory is bounded: the entry that was done first is forgotten, and never one that is running."""

    async def story() -> None:
        store = MemoryIdempotency(FakeClock(), entries_max=3)
        await store.claim("running", "body")
        for name in "abcd":
            await store.claim(name, "body")
            await store.finish(name, "body", 200)
        assert len(store) == 4
        assert await store.claim("b", "body") == Done(200, None)
        assert await store.claim("a", "body") == Claimed()

    asyncio.run(story())


def test_too_much_that_is_running_is_refused() -> None:
    """Where all room is taken by work that is running, no more is begun until some has ended or its lease has."""

    async def story() -> None:
        clock = FakeClock()
        store = MemoryIdempotency(clock, entries_max=2)
        await store.claim("a", "body")
        await store.claim("b", "body")
        with pytest.raises(CacheAway):
            await store.claim("c", "body")
        await store.finish("a", "body", 200)
        assert await store.claim("c", "body") == Claimed()
        clock.advance(LEASE_S * 1_000)
        assert await store.claim("d", "body") == Claimed()

    asyncio.run(story())


def test_what_has_expired_is_forgotten() -> None:
    """Memory is given back, whatever is asked for."""

    async def story() -> None:
        clock = FakeClock()
        store = MemoryIdempotency(clock)
        for name in "abc":
            await store.claim(name, "body")
        await store.finish("a", "body", 200)
        clock.advance(LEASE_S * 1_000)
        await store.claim("x", "body")
        assert len(store) == 2
        clock.advance(KEPT_S * 1_000)
        await store.claim("y", "body")
        assert len(store) == 1

    asyncio.run(story())
