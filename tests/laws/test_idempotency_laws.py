"""What every store of idempotent work promises: one suite over Valkey and its twin in memory."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.clock import FakeClock, SystemClock
from ingest.counters.idempotency import (
    KEPT_S,
    LEASE_S,
    Claim,
    Claimed,
    Conflict,
    Done,
    IdempotencyStore,
    Running,
    StoredAs,
)
from ingest.counters.memory_idempotency import MemoryIdempotency
from ingest.counters.redis_idempotency import RedisIdempotency
from tests.support.caches import open_cache

BODY, OTHER_BODY = "1" * 64, "2" * 64
STORED: tuple[StoredAs | None, ...] = ("replicated", "spooled", None)

_examples = count()

Wait = Callable[[float], Awaitable[None]]
Story = Callable[[IdempotencyStore, Wait], Awaitable[None]]


class World(Protocol):
    """One store, empty at first."""

    def run(self, story: Story) -> None:
        """Run a test's story on an event loop of its own, with the store and a way to let seconds pass."""


class MemoryWorld:
    """The twin, whose time is told to it."""

    def run(self, story: Story) -> None:
        """Run a story."""
        clock = FakeClock()

        async def wait(seconds: float) -> None:
            clock.advance(int(seconds * 1_000))

        asyncio.run(_bounded(story(MemoryIdempotency(clock), wait)))


class RedisWorld:
    """A real Valkey; time passes by making the rest of every entry's life shorter."""

    def __init__(self, url: str) -> None:
        self._url = url

    def run(self, story: Story) -> None:
        """Run a story."""
        asyncio.run(_bounded(self._run(story)))

    async def _run(self, story: Story) -> None:
        async with open_cache(self._url, SystemClock()) as cache:

            async def wait(seconds: float) -> None:
                async for name in cache.client.scan_iter():
                    rest_ms = await cache.client.pttl(name)
                    await cache.client.pexpire(name, rest_ms - int(seconds * 1_000))

            await story(RedisIdempotency(cache), wait)


async def _bounded(story: Awaitable[None]) -> None:
    async with asyncio.timeout(90):
        await story


@pytest.fixture(params=["memory", "valkey"])
def world(request: pytest.FixtureRequest) -> World:
    """Give an empty store."""
    return MemoryWorld() if request.param == "memory" else RedisWorld(request.getfixturevalue("valkey_url"))


def test_work_is_claimed_once(world: World) -> None:
    """Whoever comes first has the work, whoever comes while it runs is told so; other work is not held up."""

    async def story(store: IdempotencyStore, _: Wait) -> None:
        assert await store.claim("a", BODY) == Claimed()
        assert await store.claim("a", BODY) == Running()
        assert await store.claim("b", BODY) == Claimed()

    world.run(story)


@pytest.mark.parametrize("stored", STORED)
def test_what_was_done_is_told_to_a_repeat(world: World, stored: StoredAs | None) -> None:
    """A repeat gets the status and the promise, as often as it comes."""

    async def story(store: IdempotencyStore, _: Wait) -> None:
        await store.claim("a", BODY)
        await store.finish("a", BODY, 202, stored)
        assert [await store.claim("a", BODY) for _ in range(2)] == [Done(202, stored)] * 2

    world.run(story)


def test_another_body_is_a_conflict_whatever_the_state(world: World) -> None:
    """A key belongs to the body that it was used for first, and a conflict changes nothing."""

    async def story(store: IdempotencyStore, _: Wait) -> None:
        await store.claim("a", BODY)
        assert await store.claim("a", OTHER_BODY) == Conflict()
        assert await store.claim("a", BODY) == Running()
        await store.finish("a", BODY, 200)
        assert await store.claim("a", OTHER_BODY) == Conflict()
        assert await store.claim("a", BODY) == Done(200, None)

    world.run(story)


def test_work_that_was_freed_may_be_begun_again(world: World) -> None:
    """Freeing forgets the body too; freeing what is not there is harmless."""

    async def story(store: IdempotencyStore, _: Wait) -> None:
        await store.free("a")
        await store.claim("a", BODY)
        await store.free("a")
        assert await store.claim("a", OTHER_BODY) == Claimed()

    world.run(story)


def test_a_claim_that_nobody_ends_is_a_lease(world: World) -> None:
    """Work whose process died may be begun again once the lease is over, and not before; a repeat does not renew it."""

    async def story(store: IdempotencyStore, wait: Wait) -> None:
        await store.claim("a", BODY)
        await wait(LEASE_S - 10)
        assert await store.claim("a", BODY) == Running()
        await wait(10)
        assert await store.claim("a", OTHER_BODY) == Claimed()

    world.run(story)


def test_what_was_done_is_kept_for_a_day(world: World) -> None:
    """The day begins when the work is done, and a repeat does not renew it."""

    async def story(store: IdempotencyStore, wait: Wait) -> None:
        await store.claim("a", BODY)
        await wait(LEASE_S - 10)
        await store.finish("a", BODY, 200)
        await wait(KEPT_S - 60)
        assert await store.claim("a", BODY) == Done(200, None)
        await wait(60)
        assert await store.claim("a", BODY) == Claimed()

    world.run(story)


def test_work_that_took_longer_than_its_lease_is_remembered(world: World) -> None:
    """What was done counts, even if the claim was over by then."""

    async def story(store: IdempotencyStore, wait: Wait) -> None:
        await store.claim("a", BODY)
        await wait(LEASE_S)
        await store.finish("a", BODY, 200)
        assert await store.claim("a", BODY) == Done(200, None)

    world.run(story)


def test_of_many_at_once_one_has_the_work(world: World) -> None:
    """Of fifty claims at once exactly one is granted, and all others are told that the work runs."""

    async def story(store: IdempotencyStore, _: Wait) -> None:
        claims = await asyncio.gather(*[store.claim("a", BODY) for _ in range(50)])
        assert claims.count(Claimed()) == 1
        assert claims.count(Running()) == 49

    world.run(story)


class Model:
    """What the store should hold, written as plainly as can be."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[str, Running | Done]] = {}

    def claim(self, name: str, body: str) -> Claim:
        """Claim as the store should."""
        if name not in self._entries:
            self._entries[name] = body, Running()
            return Claimed()
        held, state = self._entries[name]
        return state if held == body else Conflict()

    def finish(self, name: str, body: str, status: int, stored: StoredAs | None) -> None:
        """Finish as the store should."""
        self._entries[name] = body, Done(status, stored)

    def free(self, name: str) -> None:
        """Free as the store should."""
        self._entries.pop(name, None)


names, bodies = st.sampled_from("ab"), st.sampled_from([BODY, OTHER_BODY])
step = st.one_of(
    st.tuples(st.just("claim"), names, bodies),
    st.tuples(st.just("finish"), names, bodies, st.integers(200, 499), st.sampled_from(STORED)),
    st.tuples(st.just("free"), names),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(step, max_size=30))
def test_any_order_of_calls_is_as_in_the_model(world: World, steps: list[tuple[str, ...]]) -> None:
    """Whatever is called in whatever order, the store answers as a plain dictionary would."""
    example = next(_examples)

    async def story(store: IdempotencyStore, _: Wait) -> None:
        model = Model()
        for call, name, *rest in steps:
            expected = getattr(model, call)(name, *rest)
            assert await getattr(store, call)(f"{example}{name}", *rest) == expected

    world.run(story)
