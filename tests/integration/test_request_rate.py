"""The request rate on a real Valkey: one count for all processes, and a local one while it is away."""

import asyncio

from devservices.valkey import ValkeyServer
from ingest.clock import FakeClock, SystemClock
from ingest.counters.cache import PAUSE_MS
from ingest.counters.request_rate import RequestRate
from ingest.counters.tiers import EndpointClass, Tier
from tests.support.caches import PATIENT_S, open_cache

READ, WRITE = EndpointClass.READ, EndpointClass.WRITE


def test_processes_share_one_minute(valkey_url: str) -> None:
    """What one process lets through is missing at the other, and both refuse once the limit is reached."""

    async def story() -> None:
        async with open_cache(valkey_url, SystemClock()) as one, open_cache(valkey_url, SystemClock()) as other:
            rates = RequestRate(one), RequestRate(other)
            standings = [await rates[number % 2].hit("key", Tier.STANDARD, WRITE) for number in range(60)]
            assert [standing.remaining for standing in standings] == list(range(59, -1, -1))
            assert all(standing.allowed and 1 <= standing.reset_s <= 60 for standing in standings)
            for rate in rates:
                assert not (await rate.hit("key", Tier.STANDARD, WRITE)).allowed
                assert not (await rate.peek("key", Tier.STANDARD, WRITE)).allowed
                assert (await rate.peek("key", Tier.STANDARD, READ)).remaining == 120
                assert not rate.local

    asyncio.run(story())


def test_calls_at_once_are_all_counted(valkey_url: str) -> None:
    """Of many calls at the same time exactly as many pass as the limit allows."""

    async def story() -> None:
        async with open_cache(valkey_url, SystemClock()) as cache:
            rate = RequestRate(cache)
            standings = await asyncio.gather(*[rate.hit("key", Tier.STANDARD, READ) for _ in range(150)])
            assert sum(standing.allowed for standing in standings) == 120

    asyncio.run(story())


def test_valkey_holds_the_key_id_and_the_class(valkey_url: str) -> None:
    """A counter is named by these two alone and lives for a minute; looking makes none."""

    async def story() -> None:
        async with open_cache(valkey_url, SystemClock()) as cache:
            rate = RequestRate(cache)
            await rate.peek("key", Tier.PARTNER, READ)
            assert await cache.client.keys() == []
            await rate.hit("key", Tier.PARTNER, WRITE)
            assert await cache.client.keys() == [b"ingest:calls:key:write"]
            assert 1 <= await cache.client.ttl("ingest:calls:key:write") <= 60

    asyncio.run(story())


def test_an_outage_goes_on_from_what_the_process_has_seen(own_valkey: ValkeyServer) -> None:
    """A key that has used its minute here gets no new one from a crash of Valkey; later both count together again."""

    async def story() -> None:
        clock = FakeClock()
        async with open_cache(own_valkey.url, clock) as cache:
            rate = RequestRate(cache)
            for _ in range(40):
                await rate.hit("key", Tier.STANDARD, WRITE)
            own_valkey.kill()
            standings = [await rate.hit("key", Tier.STANDARD, WRITE) for _ in range(21)]
            assert [standing.remaining for standing in standings] == [*range(19, -1, -1), 0]
            assert not standings[-1].allowed
            assert (await rate.peek("key", Tier.STANDARD, WRITE)).remaining == 0
            assert rate.local
            assert cache.failures_total == 1
            own_valkey.restart()
            assert not (await rate.hit("key", Tier.STANDARD, WRITE)).allowed
            clock.advance(PAUSE_MS)
            assert (await rate.hit("key", Tier.STANDARD, WRITE)).remaining == 59
            assert not rate.local

    asyncio.run(story())


def test_a_valkey_that_hangs_holds_up_one_call(own_valkey: ValkeyServer) -> None:
    """A call waits for its bound and is counted here, the next ones do not ask; and no answer is taken for another."""

    async def story() -> None:
        clock = FakeClock()
        async with open_cache(own_valkey.url, clock) as cache:
            rate = RequestRate(cache)
            await rate.hit("key", Tier.STANDARD, WRITE)
            own_valkey.pause()
            cache._wait_s = 0.25
            assert (await rate.hit("key", Tier.STANDARD, WRITE)).remaining == 58
            assert (await rate.hit("key", Tier.STANDARD, WRITE)).remaining == 57
            assert (cache.failures_total, rate.local) == (1, True)
            own_valkey.resume()
            clock.advance(PAUSE_MS)
            cache._wait_s = PATIENT_S
            other = await rate.hit("other", Tier.PARTNER, READ)
            assert (other.limit, other.remaining, other.allowed) == (6_000, 5_999, True)
            assert not rate.local

    asyncio.run(story())
