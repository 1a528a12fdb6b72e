"""Retention beside the loop: when it runs, what it tells, and that nothing it runs into ends it."""

import asyncio
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from ingest.clock import FakeClock
from ingest.control.record import Actor
from ingest.control.retention import Purged
from ingest.db.database import Database, DatabaseAway
from ingest.persist import retention
from ingest.persist.actor import ACTOR
from ingest.persist.retention import Pace, RetentionSchedule

PURGED = Purged(1, 20, 2, 30, 40, 70, 50, 60, 3)
PACE = Pace(first_s=1.0, every_s=2.0, away_s=3.0)


class World:
    """Runs that end as they are told, and pauses that are written down instead of waited for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *ends: Purged | BaseException | None) -> None:
        self.ends = list(ends)
        self.pauses: list[float] = []
        self.asked: list[tuple[int, Actor]] = []
        self.done = asyncio.Event()
        self._sleep = asyncio.sleep
        monkeypatch.setattr(retention, "purge", self._purge)
        monkeypatch.setattr(asyncio, "sleep", self._pause)

    async def run(self, jitter: float = 0.0) -> None:
        """Let the schedule run until all ends are used up, and hold that nothing of it is left."""
        schedule = RetentionSchedule(cast("Database", None), 90, FakeClock(), pace=PACE, jitter=lambda: jitter)
        async with schedule.at_work():
            await self.done.wait()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def _purge(self, _database: Database, events_days: int, actor: Actor) -> Purged | None:
        self.asked.append((events_days, actor))
        if not self.ends:
            self.done.set()
            await asyncio.Event().wait()
        end = self.ends.pop(0)
        if isinstance(end, BaseException):
            raise end
        return end

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await self._sleep(0)


def play(monkeypatch: pytest.MonkeyPatch, *ends: Purged | BaseException | None, jitter: float = 0.0) -> Any:
    """Play runs that end so; return the world and the lines of the log."""

    async def work() -> World:
        world = World(monkeypatch, *ends)
        await world.run(jitter)
        return world

    with capture_logs() as lines:
        world = asyncio.run(work())
    return world, lines


def test_it_runs_soon_and_then_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run has the days of the setting and acts as the process; its counts are told in one line."""
    world, lines = play(monkeypatch, PURGED, None)

    assert world.pauses == [1.0, 2.0, 2.0]
    assert set(world.asked) == {(90, ACTOR)}
    assert lines == [
        {"event": "retention_done", "log_level": "info", "dropped": 3, "deleted": 270, "put_off": 3, "duration_ms": 0},
        {"event": "retention_under_way", "log_level": "info"},
    ]


def test_a_database_that_is_away_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again sooner than the next run is due, and told once."""
    world, lines = play(monkeypatch, DatabaseAway(), DatabaseAway(), None, DatabaseAway())

    assert world.pauses == [1.0, 3.0, 3.0, 2.0, 3.0]
    assert [line["event"] for line in lines] == ["retention_waits", "retention_under_way", "retention_waits"]


def test_a_fault_is_told_and_the_next_run_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong here, rows go on to be written."""
    world, lines = play(monkeypatch, RuntimeError(), PURGED)

    assert world.pauses == [1.0, 2.0, 2.0]
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("retention_failed", "error"),
        ("retention_done", "info"),
    ]


def test_pauses_differ_from_process_to_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pause is longer by up to a tenth."""
    world, _ = play(monkeypatch, PURGED, jitter=1.0)

    assert world.pauses == [pytest.approx(1.1), pytest.approx(2.2)]


def test_the_end_of_the_block_ends_a_pause() -> None:
    """Nobody waits for the next run."""

    async def work() -> set[asyncio.Task[Any]]:
        async with RetentionSchedule(cast("Database", None), 90, FakeClock()).at_work():
            await asyncio.sleep(0)
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert asyncio.run(work()) == set()
