"""Event rates that several processes share over a real Valkey; each process is played by its own objects."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from structlog.testing import capture_logs

from devservices.valkey import ValkeyServer
from ingest.clock import FakeClock
from ingest.counters.cache import PAUSE_MS, Cache
from ingest.counters.event_rate import SharedEventRate
from ingest.errors import Refusal
from ingest.registry.model import App
from ingest.registry.rate import EventRate
from tests.support.caches import PATIENT_S, open_cache

SECOND_MS, MINUTE_MS = 1_000, 60_000


def app(per_minute: int, app_id: str = "app_x") -> App:
    """Make an app with a maximum."""
    return App(id=app_id, project_id="p", organization_id="o", events_per_minute_max=per_minute)


class Process:
    """One serving process, as far as it counts."""

    def __init__(self, cache: Cache, clock: FakeClock, workers: int) -> None:
        self.clock = clock
        self.rate = EventRate(share=workers)
        self.shared = SharedEventRate(self.rate, cache, clock, workers=workers)

    def sends(self, sender: App, events: int) -> int:
        """Let a batch come and return how many events passed."""
        try:
            self.rate.charge(sender, events, self.clock.monotonic_ms())
        except Refusal:
            return 0
        return events

    def left(self, sender: App) -> int:
        """Return the events that are left in the bucket, 0 or more."""
        assert sender.events_per_minute_max is not None
        return self.rate._credit(sender.id, sender.events_per_minute_max, self.clock.monotonic_ms()) // MINUTE_MS

    def wait_s(self, sender: App) -> int:
        """Return the seconds until the next batch passes, 0 where there is no debt."""
        try:
            self.rate.check(sender, self.clock.monotonic_ms())
        except Refusal as refused:
            return refused.retry_after_s or -1
        return 0


@asynccontextmanager
async def processes(url: str, count: int, clock: FakeClock) -> AsyncIterator[list[Process]]:
    """Start processes that have found Valkey."""
    async with AsyncExitStack() as caches:
        started = [
            Process(await caches.enter_async_context(open_cache(url, clock)), clock, workers=count)
            for _ in range(count)
        ]
        await exchange(started)
        assert not any(process.shared.local for process in started)
        yield started


async def exchange(some: list[Process]) -> None:
    """Let each process exchange once, one after the other."""
    for process in some:
        await process.shared.exchange()


def run(story: Callable[[], Awaitable[None]]) -> None:
    """Run one test's story on an event loop of its own."""

    async def main() -> None:
        async with asyncio.timeout(90):
            await story()

    asyncio.run(main())


async def flood(some: list[Process], sender: App, seconds: int, clock: FakeClock) -> int:
    """Offer five times the maximum everywhere, exchanging once a second; returns what passed."""
    passed = 0
    for _ in range(seconds):
        for _ in range(10):
            passed += sum(process.sends(sender, 5) for process in some)
            clock.advance(SECOND_MS // 10)
        await exchange(some)
    return passed


@pytest.mark.parametrize("begin_s", [0, 50])
def test_together_they_pass_what_one_would(valkey_url: str, begin_s: int) -> None:
    """Three flooded processes pass a full bucket and what time pays, more or less what one second brings."""

    async def story() -> None:
        clock, sender = FakeClock(), app(600)
        clock.advance(begin_s * SECOND_MS)
        async with processes(valkey_url, 3, clock) as three:
            passed = await flood(three, sender, 120, clock)
        second = 3 * 10 * 5
        assert 600 + 1_200 - second <= passed <= 600 + 1_200 + second

    run(story)


def test_one_of_three_may_use_the_whole_maximum(valkey_url: str) -> None:
    """Where a balancer sends an app to one process only, that one grants all of it."""

    async def story() -> None:
        clock, sender = FakeClock(), app(600)
        async with processes(valkey_url, 3, clock) as three:
            assert sum(three[0].sends(sender, 100) for _ in range(8)) == 700

    run(story)


def test_without_valkey_each_has_its_share_and_then_all_of_it_again(own_valkey: ValkeyServer) -> None:
    """A crash of Valkey divides every maximum by the workers, its return shares it anew, and both are told once."""

    async def story() -> None:
        clock = FakeClock()
        with capture_logs() as lines:
            async with processes(own_valkey.url, 3, clock) as three:
                own_valkey.kill()
                await exchange(three)
                assert all(process.shared.local for process in three)
                assert sum(process.sends(app(600, "new"), 10) for process in three for _ in range(60)) == 3 * 210
                await exchange(three)
                own_valkey.restart()
                clock.advance(PAUSE_MS)
                await exchange(three)
                assert not any(process.shared.local for process in three)
                assert three[0].sends(app(600, "newer"), 700) == 700
                assert three[1].sends(app(600, "newer"), 1) == 1
                await exchange(three)
                assert three[1].wait_s(app(600, "newer")) == 10
        rate_lines = [line["event"] for line in lines if line["event"].startswith("event_rate")]
        assert rate_lines == ["event_rate_shared"] * 3 + ["event_rate_local"] * 3 + ["event_rate_shared"] * 3

    run(story)


def test_a_valkey_that_hangs_is_away_until_it_answers(own_valkey: ValkeyServer) -> None:
    """An exchange that is not answered in time divides the maximum; the next one is not confused by a late answer."""

    async def story() -> None:
        clock, sender = FakeClock(), app(600)
        async with open_cache(own_valkey.url, clock) as cache, processes(own_valkey.url, 1, clock) as (other,):
            one = Process(cache, clock, workers=2)
            await exchange([one])
            one.sends(sender, 1)
            await exchange([one])
            own_valkey.pause()
            cache._wait_s = 0.25
            await exchange([one])
            local_meanwhile = one.shared.local
            own_valkey.resume()
            cache._wait_s = PATIENT_S
            clock.advance(PAUSE_MS)
            other.sends(sender, 100)
            await exchange([other, one])
            assert (local_meanwhile, one.shared.local) == (True, False)
            assert one.left(sender) == 500

    run(story)


def test_what_was_charged_alone_is_not_charged_to_the_others_later(own_valkey: ValkeyServer) -> None:
    """The shares of an outage have divided the maximum already, so nobody begins with a debt when it is over."""

    async def story() -> None:
        clock, sender = FakeClock(), app(600)
        async with processes(own_valkey.url, 2, clock) as (one, other):
            assert other.sends(sender, 10) == 10
            await exchange([one, other])
            own_valkey.kill()
            await exchange([one, other])
            assert one.sends(sender, 200) == 200
            own_valkey.restart()
            clock.advance(PAUSE_MS)
            await exchange([one, other])
            assert other.sends(sender, 10) == 10
            await exchange([one, other])
            assert other.left(sender) == 590

    run(story)


def test_what_is_given_back_is_given_back_everywhere(valkey_url: str) -> None:
    """A batch that was not stored is charged nowhere once each process has heard of it."""

    async def story() -> None:
        clock, sender = FakeClock(), app(600)
        async with processes(valkey_url, 2, clock) as (one, other):
            assert other.sends(sender, 1) == 1
            assert one.sends(sender, 100) == 100
            await exchange([one, other])
            assert (other.left(sender), one.left(sender)) == (499, 500)
            one.rate.refund(sender, 100)
            await exchange([one, other])
            assert (other.left(sender), one.left(sender)) == (599, 599)
            one.sends(sender, 50)
            one.rate.refund(sender, 50)
            await exchange([one, other])
            assert (other.left(sender), one.left(sender)) == (599, 599)

    run(story)


def test_a_process_that_comes_later_learns_of_the_debt(valkey_url: str) -> None:
    """What this minute has seen elsewhere, less what it has paid back, is charged when an app is first seen here."""

    async def story() -> None:
        clock, sender = FakeClock(), app(60)
        async with processes(valkey_url, 2, clock) as (one, other):
            assert one.sends(sender, 120) == 120
            await exchange([one, other])
            clock.advance(30 * SECOND_MS)
            assert other.sends(sender, 10) == 10
            await exchange([other, one])
            assert (one.wait_s(sender), other.wait_s(sender)) == (40, 40)

    run(story)


def test_nothing_is_lost_or_charged_twice_when_a_minute_ends(valkey_url: str) -> None:
    """Charges that come to the old minute's counter after a process has last looked at it are charged all the same."""

    async def story() -> None:
        early, late = FakeClock(), FakeClock()
        late.set_now_ms(late.now_ms() - SECOND_MS)
        sender = app(600)
        async with open_cache(valkey_url, early) as cache, open_cache(valkey_url, late) as other_cache:
            one, other = Process(cache, early, 2), Process(other_cache, late, 2)
            await exchange([one, other])
            early.advance(54 * SECOND_MS)
            late.advance(54 * SECOND_MS)
            for _ in range(12):
                assert (one.sends(sender, 30), other.sends(sender, 20)) == (30, 20)
                await exchange([one, other])
                early.advance(SECOND_MS)
                late.advance(SECOND_MS)
            await exchange([one])
            assert one.left(sender) == other.left(sender) == 600 - 12 * (30 + 20) + 12 * 10

    run(story)


def test_counters_that_are_lost_give_nothing_back(valkey_url: str) -> None:
    """A Valkey that comes back empty between two exchanges neither fills a bucket nor charges it twice."""

    async def story() -> None:
        clock, sender = FakeClock(), app(600)
        async with open_cache(valkey_url, clock) as cache, processes(valkey_url, 2, clock) as (one, other):
            one.sends(sender, 100)
            other.sends(sender, 1)
            await exchange([one, other, one])
            assert await cache.client.flushall()
            other.sends(sender, 10)
            await exchange([other, one])
            assert not one.shared.local
            assert one.left(sender) == other.left(sender) == 489

    run(story)


def test_apps_that_are_silent_are_not_looked_at(valkey_url: str) -> None:
    """What is asked of Valkey is bounded by the apps that sent here in the last minute, and its counters expire."""

    async def story() -> None:
        clock = FakeClock()
        async with open_cache(valkey_url, clock) as cache:
            process = Process(cache, clock, workers=1)
            clock.advance(MINUTE_MS // 2)
            await exchange([process])
            for number in range(50):
                process.sends(app(60, f"app_{number}"), 1)
            await exchange([process])
            assert len(process.shared._looks) == 50
            clock.advance(MINUTE_MS - 1)
            process.sends(app(60, "app_0"), 1)
            await exchange([process])
            assert len(process.shared._looks) == 50
            clock.advance(1)
            await exchange([process])
            assert list(process.shared._looks) == ["app_0"]
            keys = [key async for key in cache.client.scan_iter("ingest:events:*")]
            assert len(keys) == 51
            assert all([1 <= await cache.client.ttl(key) <= 180 for key in keys])

    run(story)


def test_the_exchange_goes_on_after_a_bug(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug divides the maximum until an exchange works again, and is told."""

    async def story() -> None:
        async with open_cache(valkey_url, FakeClock()) as cache:
            process = Process(cache, FakeClock(), workers=2)
            await exchange([process])
            exchanged = process.shared.exchange
            rounds: list[asyncio.Event] = [asyncio.Event(), asyncio.Event()]

            async def broken_at_first() -> None:
                first, second = rounds
                if not first.is_set():
                    first.set()
                    raise KeyError
                await exchanged()
                second.set()

            monkeypatch.setattr(process.shared, "exchange", broken_at_first)
            with capture_logs() as lines:
                running = asyncio.create_task(process.shared.run())
                await asyncio.gather(*[event.wait() for event in rounds])
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
            assert [line["event"] for line in lines] == ["bug", "event_rate_local", "event_rate_shared"]

    run(story)
