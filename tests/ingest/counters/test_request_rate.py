"""The request rate of a process without Valkey."""

import asyncio

from ingest.counters.request_rate import RequestRate, Standing
from ingest.counters.tiers import EndpointClass, Tier

READ, WRITE = EndpointClass.READ, EndpointClass.WRITE


def test_a_minute_holds_the_limit_and_no_more() -> None:
    """As many calls as the tier allows are let through, each tells what is left, and the next is refused."""

    async def story() -> None:
        rate = RequestRate()
        standings = [await rate.hit("key", Tier.STANDARD, WRITE) for _ in range(61)]
        assert [standing.remaining for standing in standings] == [*range(59, -1, -1), 0]
        assert [standing.allowed for standing in standings] == [True] * 60 + [False]
        assert {(standing.limit, standing.endpoint_class) for standing in standings} == {(60, WRITE)}
        assert all(1 <= standing.reset_s <= 60 for standing in standings)
        assert not rate.local

    asyncio.run(story())


def test_keys_and_classes_are_counted_apart() -> None:
    """Neither another key nor another class is charged."""

    async def story() -> None:
        rate = RequestRate()
        for _ in range(61):
            await rate.hit("key", Tier.STANDARD, WRITE)
        assert (await rate.hit("key", Tier.STANDARD, READ)).remaining == 119
        assert (await rate.hit("other", Tier.STANDARD, WRITE)).remaining == 59

    asyncio.run(story())


def test_a_look_costs_nothing() -> None:
    """`peek` tells what the next call would find, before the first one and after the last."""

    async def story() -> None:
        rate = RequestRate()
        assert await rate.peek("key", Tier.PILOT, WRITE) == Standing(WRITE, 600, 600, 0, allowed=True)
        for _ in range(600):
            assert (await rate.peek("key", Tier.PILOT, WRITE)).allowed
            assert (await rate.hit("key", Tier.PILOT, WRITE)).allowed
        last = await rate.peek("key", Tier.PILOT, WRITE)
        assert (last.remaining, last.allowed) == (0, False)

    asyncio.run(story())


def test_a_new_tier_does_not_begin_a_new_minute() -> None:
    """What was called before a change of tier counts after it."""

    async def story() -> None:
        rate = RequestRate()
        for _ in range(50):
            await rate.hit("key", Tier.PILOT, WRITE)
        assert (await rate.hit("key", Tier.STANDARD, WRITE)).remaining == 9

    asyncio.run(story())
