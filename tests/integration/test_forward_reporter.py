"""What a forwarding process tells of itself: each change once, the silent ones not at all, and nothing too early."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest

from ingest.clock import FakeClock
from ingest.conversion import Platform
from ingest.db.database import Database, DatabaseAway
from ingest.db.queries.destinations import destinations, workers
from ingest.forward.backlog import Backlog
from ingest.forward.destination import Destination
from ingest.forward.reporter import SILENT, Reporter
from ingest.registry.snapshot import Snapshot
from tests.ingest.forward.world import app
from tests.integration.partner import Store
from tests.support.rows import ask, opened


class World(NamedTuple):
    """One process that forwards, its destination for Meta, and what waits."""

    reporter: Reporter
    meta: Destination
    apps: dict[str, Any]
    lags: list[int | None]
    places: dict[tuple[str, Platform], Destination]


Story = Callable[[Database, World], Awaitable[None]]


def tell(store: Store, story: Story) -> None:
    """Let a process live through a story, in a database without any earlier one."""
    ask(store.owner, "TRUNCATE forward_destinations, forward_workers, outbox, audit_events, organizations CASCADE")
    ask(store.owner, "INSERT INTO organizations VALUES ('org_a', 'A', 'ops@a.example')")

    async def live() -> None:
        async with opened(store.forward) as database:
            meta = Destination("app_a", Platform.META, FakeClock(), lambda: 0.5)
            places = {("app_a", Platform.META): meta}
            apps = {"app_a": app()}
            lags: list[int | None] = [3, 4]

            backlog = Backlog(lambda: lags[0], lambda: lags[1])
            reporter = Reporter(database, places, lambda: Snapshot(apps, complete=True), backlog, "one")
            await story(database, World(reporter, meta, apps, lags, places))

    asyncio.run(live())


def told(store: Store) -> list[str]:
    """Return the messages to the support, in order."""
    rows = ask(store.owner, "SELECT payload FROM outbox WHERE recipient = 'support' ORDER BY created_at, id")
    return [f"{row['payload']['type']} {row['payload'].get('reason', '')}".strip() for row in rows]


def test_each_change_is_told_once(store: Store) -> None:
    """A pause and its end, however often it is reported; other changes are written down alone."""
    states = []

    async def story(database: Database, world: World) -> None:
        async def report() -> None:
            for _ in range(2):
                await world.reporter.report()
            states.append([(each.state, each.reason) for each in await database.run(destinations)])

        await report()
        world.meta.failed("timeout")
        await report()
        world.meta.stopped("190", "token")
        await report()
        world.meta.taken()
        await report()
        assert [each.last_success_at for each in await database.run(destinations)] != [None]

    tell(store, story)

    assert states == [[("healthy", "")], [("degraded", "timeout")], [("paused", "190")], [("healthy", "")]]
    assert told(store) == ["forward.paused 190", "forward.resumed"]


@pytest.mark.parametrize("reason", SILENT)
def test_what_operators_know_is_not_told(store: Store, reason: str) -> None:
    """Neither the switch that they turned, nor what this process has not learned yet; nor its end."""

    async def story(database: Database, world: World) -> None:
        world.meta.held = reason
        await world.reporter.report()
        assert await database.run(destinations) == []
        world.meta.held = ""
        await world.reporter.report()
        assert [each.state for each in await database.run(destinations)] == ["healthy"]

    tell(store, story)

    assert told(store) == []


def test_a_pause_before_a_kill_ends_after_it(store: Store) -> None:
    """The switch hides the trouble for a while, and says nothing of its end."""

    async def story(_: Database, world: World) -> None:
        world.meta.stopped("190", "token")
        await world.reporter.report()
        world.meta.held = SILENT[0]
        await world.reporter.report()
        world.meta.held = ""
        await world.reporter.report()
        assert told(store) == ["forward.paused 190"]
        world.meta.taken()
        await world.reporter.report()

    tell(store, story)

    assert told(store) == ["forward.paused 190", "forward.resumed"]


def test_an_app_that_is_gone_is_not_told_of(store: Store) -> None:
    """There is nobody to tell; the others are reported all the same."""

    async def story(database: Database, world: World) -> None:
        world.places["app_b", Platform.META] = Destination("app_b", Platform.META, FakeClock(), lambda: 0.5)
        world.places["app_b", Platform.META].stopped("190", "token")
        await world.reporter.report()
        assert [each.app_id for each in await database.run(destinations)] == ["app_a"]

    tell(store, story)

    assert told(store) == []


def test_what_waits_is_reported(store: Store) -> None:
    """What nobody knows yet counts as nothing; at the end the process is forgotten."""
    seen: list[tuple[str, int, int]] = []

    async def story(database: Database, world: World) -> None:
        for lags in ([None, None], [3, 4], [6, 5]):
            world.lags[:] = lags
            await world.reporter.report()
            seen.extend((each.id, each.lag_records, each.parked_records) for each in await database.run(workers))
        await world.reporter.close()
        assert await database.run(workers) == []

    tell(store, story)

    assert seen == [("one", 0, 0), ("one", 3, 4), ("one", 6, 5)]


def test_a_database_that_is_away_is_told_later(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What holds when it is back is told once, and nothing ends the reports meanwhile."""

    async def story(database: Database, world: World) -> None:
        away, tried, done = True, asyncio.Event(), asyncio.Event()
        transact = database.transact

        async def unreliable(work: Any) -> Any:
            if away:
                tried.set()
                raise DatabaseAway
            try:
                return await transact(work)
            finally:
                done.set()

        monkeypatch.setattr(database, "transact", unreliable)
        world.meta.stopped("190", "token")
        reports = asyncio.create_task(world.reporter.run(every_s=0.01))
        await tried.wait()
        away = False
        await done.wait()
        reports.cancel()
        await asyncio.gather(reports, return_exceptions=True)

    tell(store, story)

    assert told(store) == ["forward.paused 190"]
