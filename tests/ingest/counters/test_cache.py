"""Valkey is asked with a bound, left alone while it is away, and tried by one call at a time."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from structlog.testing import capture_logs

from ingest.clock import FakeClock
from ingest.counters.cache import PAUSE_MS, Cache, CacheAway

Call = Callable[[Redis], Awaitable[str]]


def failing(error: Exception) -> Call:
    """Make a call that fails."""

    async def call(_: Redis) -> str:
        raise error

    return call


async def answered(_: Redis) -> str:
    """Answer at once."""
    return "answer"


async def never(_: Redis) -> str:
    """Do not answer."""
    await asyncio.Event().wait()
    return "late"


def make(wait_s: float = 20.0) -> tuple[Cache, FakeClock]:
    """Make a cache over a client that is never used."""
    clock = FakeClock()
    return Cache(Redis(), clock, wait_s=wait_s), clock


async def asked(cache: Cache, call: Call = answered) -> str | None:
    """Return the answer, None where there is none."""
    try:
        return await cache.ask(call)
    except CacheAway:
        return None


@pytest.mark.parametrize("error", [RedisConnectionError("x"), ResponseError("OOM"), ConnectionRefusedError()])
def test_a_failure_is_one_error_whatever_it_is(error: Exception) -> None:
    """Refused connections and error replies are `CacheAway`, without the cause, and told by type once."""

    async def story() -> None:
        cache, _ = make()
        with capture_logs() as lines, pytest.raises(CacheAway) as raised:
            await cache.ask(failing(error))
        assert raised.value.__suppress_context__
        assert lines == [{"event": "cache_away", "log_level": "warning", "error": error}]
        assert (cache.away, cache.failures_total) == (True, 1)

    asyncio.run(story())


def test_a_wait_is_bounded() -> None:
    """An answer that does not come counts as a failure."""

    async def story() -> None:
        cache, _ = make(wait_s=0.01)
        assert await asked(cache, never) is None
        assert cache.away

    asyncio.run(story())


def test_it_is_left_alone_for_a_second_and_then_tried() -> None:
    """No call goes out until the pause is over; a trial that fails begins a new one, an answered one ends it."""

    async def story() -> None:
        cache, clock = make()
        with capture_logs() as lines:
            await asked(cache, failing(RedisConnectionError()))
            clock.advance(PAUSE_MS - 1)
            assert await asked(cache) is None
            clock.advance(1)
            await asked(cache, failing(RedisConnectionError()))
            clock.advance(PAUSE_MS - 1)
            assert await asked(cache) is None
            assert (cache.away, cache.failures_total) == (True, 2)
            clock.advance(1)
            assert await asked(cache) == "answer"
        assert (cache.away, cache.failures_total) == (False, 2)
        assert await asked(cache) == "answer"
        assert [line["event"] for line in lines] == ["cache_away", "cache_back"]

    asyncio.run(story())


def test_one_call_tries() -> None:
    """While a trial is under way all others are turned away; a trial that is cancelled leaves room for the next."""

    async def story() -> None:
        cache, clock = make()
        await asked(cache, failing(RedisConnectionError()))
        clock.advance(PAUSE_MS)
        trial = asyncio.create_task(asked(cache, never))
        await asyncio.sleep(0)
        assert await asked(cache) is None
        trial.cancel()
        await asyncio.gather(trial, return_exceptions=True)
        assert cache.away
        assert await asked(cache) == "answer"

    asyncio.run(story())


def test_calls_that_were_under_way_change_nothing() -> None:
    """What was asked before the failure neither ends the pause with its answer nor makes it longer with its error."""

    async def story() -> None:
        cache, clock = make()
        go = asyncio.Event()

        async def late(_: Redis) -> str:
            await go.wait()
            return "late"

        async def late_failure(_: Redis) -> str:
            await go.wait()
            raise RedisConnectionError

        slow = [asyncio.create_task(asked(cache, call)) for call in (late, late_failure)]
        await asyncio.sleep(0)
        await asked(cache, failing(RedisConnectionError()))
        clock.advance(PAUSE_MS - 1)
        go.set()
        assert await asyncio.gather(*slow) == ["late", None]
        assert (cache.away, cache.failures_total) == (True, 2)
        clock.advance(1)
        assert await asked(cache) == "answer"

    asyncio.run(story())


def test_a_bug_is_not_an_outage() -> None:
    """What is no failure of Valkey comes through as it is."""

    async def story() -> None:
        cache, _ = make()
        with pytest.raises(KeyError):
            await cache.ask(failing(KeyError("x")))
        assert (cache.away, cache.failures_total) == (False, 0)

    asyncio.run(story())
