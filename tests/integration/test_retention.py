"""Retention on a real PostgreSQL: what is old goes, nothing else does, and a run that is killed is made good."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.errors import CheckViolation

from ingest.clock import SystemClock
from ingest.control.record import Actor
from ingest.control.retention import LOCK, Purged, purge
from ingest.db.queries.events import insert_events
from ingest.db.queries.retention import Drop, drop_day
from ingest.persist.actor import ACTOR
from ingest.persist.retention import Pace, RetentionSchedule
from ingest.persist.row import to_row
from ingest.settings_rules import load
from ingest.transport.sealed import SealKeys
from ingest.wiring.persist import build_persist
from tests.ingest.pipeline.batches import body, event
from tests.integration.edge import await_true, run_command
from tests.integration.partner import login
from tests.support.control import KIM, Plane, customer
from tests.support.program import Program
from tests.support.rows import ask, delivered, opened

DEFAULT_DAYS = 400
SHORT_DAYS = 60
NOTHING = Purged(0, 0, 0, 0, 0, 0, 0, 0, 0)
MINUTE = timedelta(minutes=1)
HELD_UP = (
    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s"
    " AND wait_event_type = 'Lock' AND query LIKE %s"
)


class World:
    """A database with a project that keeps its events for SHORT_DAYS, and one that keeps them by default."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.now = datetime.now(UTC)
        self.short = customer(dsn, "app_short").project_id
        self.long = customer(dsn, "app_long").project_id
        ask(dsn, "UPDATE projects SET events_retention_days = %s WHERE id = %s", (SHORT_DAYS, self.short))

    def day(self, age: int) -> date:
        """Return a day of the past."""
        return self.now.date() - timedelta(days=age)

    def make(self, *ages: int) -> None:
        """Make partitions."""
        for age in ages:
            day = self.day(age)
            ask(
                self.dsn,
                f"CREATE TABLE IF NOT EXISTS events_{day:%Y%m%d} PARTITION OF events"
                f" FOR VALUES FROM ('{day} 00:00+00') TO ('{day + timedelta(days=1)} 00:00+00')",
            )

    def add(self, event_id: str, project_id: str, ts: datetime, received_at: datetime | None = None) -> None:
        """Add an event."""
        ask(
            self.dsn,
            "INSERT INTO events (app_id, event_id, ts, project_id, organization_id, name, received_at, source, event,"
            " meta) VALUES ('app_a', %s, %s, %s, 'org_a', 'view', %s, 'sdk', '{}', '{}')",
            (event_id, ts, project_id, received_at or self.now),
        )

    def add_on(self, age: int, *projects: str) -> None:
        """Make a day and add to it an event of each project at noon."""
        self.make(age)
        noon = datetime.combine(self.day(age), time(12), UTC)
        for project_id in projects:
            self.add(f"{'short' if project_id == self.short else 'long'}_{age}", project_id, noon)

    def events(self) -> set[str]:
        """Return the ids of all events that are there."""
        return {row["event_id"] for row in ask(self.dsn, "SELECT event_id FROM events")}

    def ages(self) -> list[int]:
        """Return the ages of the days that have a partition."""
        found = ask(
            self.dsn,
            "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'events'::regclass"
            " AND inhrelid::regclass::text <> 'events_default'",
        )
        days = [datetime.strptime(row["name"][-8:], "%Y%m%d").replace(tzinfo=UTC).date() for row in found]
        return sorted((self.now.date() - day).days for day in days)

    def audits(self) -> list[dict[str, Any]]:
        """Return the audit events of runs."""
        return ask(
            self.dsn,
            "SELECT actor, organization_id, target_type, details FROM audit_events WHERE action = 'retention.run'"
            " ORDER BY at",
        )


@pytest.fixture
def world(control_plane: Plane) -> World:
    """Provide a database with two projects."""
    return World(control_plane.owner)


@pytest.fixture
def persist_dsn(world: World) -> Iterator[str]:
    """Provide a login with the rights of the persisting process alone."""
    with login(world.dsn, "ingest_persist") as dsn:
        yield dsn


def run(dsn: str, days: int = DEFAULT_DAYS, actor: Actor = KIM) -> Purged | None:
    """Make one run."""

    async def work() -> Purged | None:
        async with opened(dsn) as database:
            return await purge(database, days, actor)

    return asyncio.run(work())


def settings(dsn: str) -> dict[str, str]:
    """Return the settings of the command."""
    return {"INGEST_POSTGRES_DSN": dsn}


def fill(world: World) -> None:
    """Add days and rows of which many are too old: by the default, by their project, and by neither."""
    for age in (0, 29, SHORT_DAYS - 1, SHORT_DAYS + 1, 100, 101, DEFAULT_DAYS, DEFAULT_DAYS + 1, 500):
        world.add_on(age, world.short, world.long)
    for age in (SHORT_DAYS + 2, 102, 103):
        world.add_on(age, world.short)


LEFT = {f"long_{age}" for age in (0, 29, SHORT_DAYS - 1, SHORT_DAYS + 1, 100, 101, DEFAULT_DAYS)} | {
    f"short_{age}" for age in (0, 29, SHORT_DAYS - 1)
}
LEFT_AGES = [0, 29, SHORT_DAYS - 1, SHORT_DAYS + 1, 100, 101, DEFAULT_DAYS]


@pytest.mark.parametrize("days", [30, 31, 399, 400])
def test_days_are_dropped_whole_once_all_of_them_is_old(world: World, days: int) -> None:
    """The day that ended just so many days ago goes, the one that had not ended stays with all its rows."""
    ask(world.dsn, "UPDATE projects SET events_retention_days = NULL")
    for age in (0, days - 1, days, days + 1, days + 50):
        world.add_on(age, world.long)

    assert run(world.dsn, days) == NOTHING._replace(event_days=2)
    assert world.ages() == [0, days - 1, days]
    assert world.events() == {"long_0", f"long_{days - 1}", f"long_{days}"}


def test_what_a_project_keeps_for_a_shorter_time_goes_to_the_minute(world: World) -> None:
    """Rows go by their project's days; of others none does, and a day that has rows is not dropped."""
    edge = world.now - timedelta(days=SHORT_DAYS)
    world.make(SHORT_DAYS - 1, SHORT_DAYS, SHORT_DAYS + 1)
    for name, ts in (("older", edge - MINUTE), ("younger", edge + MINUTE)):
        world.add(f"short_{name}", world.short, ts)
        world.add(f"long_{name}", world.long, ts)
    world.add("nobodys", "prj_of_a_file", edge - MINUTE)

    assert run(world.dsn) in (NOTHING._replace(events=1), NOTHING._replace(events=1, event_days=1))
    assert world.events() == {"short_younger", "long_older", "long_younger", "nobodys"}


def test_a_run_does_all_of_it_and_the_next_one_nothing(world: World) -> None:
    """Days go, rows go, days that are empty then go, and what is left is left by every further run."""
    fill(world)
    first, second = run(world.dsn), run(world.dsn)

    assert first == NOTHING._replace(event_days=5, events=7)
    assert second == NOTHING
    assert world.events() == LEFT
    assert world.ages() == LEFT_AGES


def test_more_rows_than_a_batch_holds_go_in_one_run(world: World) -> None:
    """Batches follow each other until nothing is left."""
    world.make(100)
    ask(
        world.dsn,
        "INSERT INTO events (app_id, event_id, ts, project_id, organization_id, name, received_at, source, event, meta)"
        " SELECT 'app_a', n::text, %s::timestamptz + n * interval '1 s', %s, 'org_a', 'view', now(), 'sdk', '{}', '{}'"
        " FROM generate_series(1, 25000) n",
        (datetime.combine(world.day(100), time(), UTC), world.short),
    )

    assert run(world.dsn) == NOTHING._replace(event_days=1, events=25_000)


def test_an_empty_day_that_is_young_enough_for_rows_stays(world: World) -> None:
    """Only days that are older than the shortest retention are dropped for being empty."""
    world.make(0, 29, SHORT_DAYS, SHORT_DAYS + 1, 399)

    assert run(world.dsn) == NOTHING._replace(event_days=2)
    assert world.ages() == [0, 29, SHORT_DAYS]


def test_rows_of_wrong_clocks_go_by_the_time_of_receipt(world: World) -> None:
    """A date far in the future does not make a row live for ever, and one in the far past does not end it at once."""
    past, future = datetime(1990, 1, 1, tzinfo=UTC), datetime(2190, 1, 1, tzinfo=UTC)
    for when, ts in (("past", past), ("future", future)):
        for owner, project_id, days in (
            ("short", world.short, SHORT_DAYS),
            ("long", world.long, DEFAULT_DAYS),
            ("nobodys", "prj_of_a_file", DEFAULT_DAYS),
        ):
            for name, received_at in (("older", -MINUTE), ("younger", MINUTE)):
                received = world.now - timedelta(days=days) + received_at
                world.add(f"{owner}_{when}_{name}", project_id, ts, received)

    assert run(world.dsn) == NOTHING._replace(events=6)
    assert world.events() == {
        f"{owner}_{when}_younger" for owner in ("short", "long", "nobodys") for when in ("past", "future")
    }


LIKE_EVENTS = {
    "skan_postbacks": "(app_id, transaction_id, postback_sequence_index, project_id, organization_id, received_at,"
    " version, ad_network_id, apple_app_id, attribution_signature, signature)"
    " VALUES ('a', %s, 0, %s, 'o', %s, '4.0', 'n', 1, 's', 'valid')",
    "clicks": "(app_id, click_id, project_id, organization_id, received_at, target, parameters)"
    " VALUES ('a', %s, %s, 'o', %s, 'web', '{}')",
}


def age_rows(world: World, table: str) -> None:
    """Add to a table that is kept like events rows that are just too old, and rows that are not yet."""
    for owner, project_id, days in (
        ("short", world.short, SHORT_DAYS),
        ("long", world.long, DEFAULT_DAYS),
        ("nobodys", "prj_of_a_file", DEFAULT_DAYS),
    ):
        for name, by in (("older", -MINUTE), ("younger", MINUTE)):
            received = world.now - timedelta(days=days) + by
            ask(world.dsn, f"INSERT INTO {table} {LIKE_EVENTS[table]}", (f"{owner}_{name}", project_id, received))


@pytest.mark.parametrize("table", LIKE_EVENTS)
def test_what_is_kept_like_events_goes_by_the_time_of_receipt(world: World, persist_dsn: str, table: str) -> None:
    """After what its project has, or the default; the role of the persisting process suffices."""
    age_rows(world, table)
    first, second = run(persist_dsn, actor=ACTOR), run(world.dsn)

    assert (first, second) == (NOTHING._replace(**{table: 3}), NOTHING)
    assert first is not None
    assert first.rows == 3
    left = ask(world.dsn, f"SELECT t::text AS line FROM {table} t")  # noqa: S608 - our own words
    assert len(left) == 3
    assert all("_younger" in row["line"] for row in left)


def test_erasures_and_who_was_erased_go_after_two_years(world: World) -> None:
    """An erasure counts from its completion, and one that is not completed stays."""
    for name, age in (("old", 732), ("young", 730)):
        at = world.now - timedelta(days=age)
        ask(
            world.dsn,
            "INSERT INTO erasures (id, organization_id, project_id, subjects, requested_at, completed_at)"
            " VALUES (%s, 'org_a', 'prj_a', '{}', '2000-01-01', %s), (%s, 'org_a', 'prj_a', '{a}', '2000-01-01', NULL)",
            (name, at, f"{name}_open"),
        )
        ask(
            world.dsn,
            "INSERT INTO erased_subjects (project_id, subject, erasure_id, received_until)"
            " VALUES ('prj_a', repeat('a', 64), %s, %s)",
            (name, at),
        )

    assert run(world.dsn) == NOTHING._replace(erasures=1, erased_subjects=1)
    assert {row["id"] for row in ask(world.dsn, "SELECT id FROM erasures")} == {"old_open", "young", "young_open"}
    assert ask(world.dsn, "SELECT erasure_id FROM erased_subjects") == [{"erasure_id": "young"}]


def test_the_command_tells_counts_and_leaves_an_audit_event(world: World) -> None:
    """What was let go of is printed as it is written down, once for each run, with no organization."""
    fill(world)
    first = run_command(["retention", "run", "--json"], settings(world.dsn))
    second = run_command(["retention", "run"], {**settings(world.dsn), "INGEST_EVENTS_RETENTION_DAYS": "99"})
    told = json.loads(first.stdout)

    assert (first.returncode, first.stderr, second.returncode, second.stderr) == (0, "", 0, "")
    assert told == {"under_way": False, **NOTHING._asdict(), "event_days": 5, "events": 7}
    assert second.stdout.startswith("dropped 3 days of events and 0 days of the request log, deleted 0 events")
    one, other = world.audits()
    assert one["actor"].startswith("operator:")
    assert (one["organization_id"], one["target_type"]) == (None, "retention")
    assert one["details"] == {"events_retention_days": 400, **NOTHING._asdict(), "event_days": 5, "events": 7}
    assert other["details"] == {"events_retention_days": 99, **NOTHING._asdict(), "event_days": 3}


def test_the_days_of_a_project_are_set_by_a_command(world: World) -> None:
    """They are shown, written down, and taken back by `default`."""
    env, path = settings(world.dsn), ["projects", "set", world.long, "--events-retention-days"]
    done = [run_command([*path, value, "--json"], env) for value in ("30", "400", "default")]
    listed = run_command(["projects", "list"], env)
    audits = ask(
        world.dsn, "SELECT details FROM audit_events WHERE action = 'project.changed' AND target_id = %s", (world.long,)
    )

    assert [each.returncode for each in done] == [0, 0, 0]
    assert [json.loads(each.stdout)["events_retention_days"] for each in done] == [30, 400, None]
    assert [(row["details"]["from"], row["details"]["to"]) for row in audits] == [(None, 30), (30, 400), (400, None)]
    assert f" {SHORT_DAYS}" in listed.stdout


@pytest.mark.parametrize(
    ("project", "value", "words"),
    [
        ("PRJ", "29", "30 to 90 days"),
        ("PRJ", "0", "30 to 90 days"),
        ("PRJ", "91", "INGEST_EVENTS_RETENTION_DAYS"),
        ("PRJ", "-1", "number of days"),
        ("PRJ", "x", "number of days"),
        ("prj_none", "30", "no such project"),
    ],
)
def test_days_that_may_not_be_are_refused(world: World, project: str, value: str, words: str) -> None:
    """Fewer than 30 days, more than the default, and what is no number are told in a line and change nothing."""
    project_id = world.short if project == "PRJ" else project
    done = run_command(
        ["projects", "set", project_id, "--events-retention-days", value],
        {**settings(world.dsn), "INGEST_EVENTS_RETENTION_DAYS": "90"},
    )
    (line,) = done.stderr.splitlines()

    assert (done.returncode, done.stdout) == (1, "")
    assert words in line
    assert ask(world.dsn, "SELECT events_retention_days AS n FROM projects WHERE id = %s", (world.short,)) == [
        {"n": SHORT_DAYS}
    ]


def test_the_database_knows_the_floor_too(world: World) -> None:
    """No way leads to fewer than 30 days."""
    with pytest.raises(CheckViolation):
        ask(world.dsn, "UPDATE projects SET events_retention_days = 29")
    done = run_command(["retention", "run"], {**settings(world.dsn), "INGEST_EVENTS_RETENTION_DAYS": "29"})

    assert done.returncode == 1
    assert "INGEST_EVENTS_RETENTION_DAYS" in done.stderr


@contextlib.contextmanager
def holding(world: World, age: int) -> Iterator[None]:
    """Hold the rows of a day for as long as the block lasts, so that their deletion waits, and nothing else."""
    with psycopg.connect(world.dsn) as connection:
        connection.execute(f"SELECT FROM events_{world.day(age):%Y%m%d} FOR UPDATE".encode())
        yield
        connection.rollback()


def await_held_up(world: World, name: str = "ingest-operator", query: str = "%DELETE FROM events %") -> None:
    """Wait until a run stands still."""
    await_true(lambda: bool(ask(world.dsn, HELD_UP, (name, query))), "it is held up")


def test_a_second_run_leaves_the_first_one_alone(world: World, tmp_path: Path) -> None:
    """While one is at work the other says so, does nothing, and succeeds; the first one does all of it."""
    fill(world)
    with Program("retention", "run", "--json", settings=settings(world.dsn), folder=tmp_path) as first:
        with holding(world, 101):
            await_held_up(world)
            told = run_command(["retention", "run"], settings(world.dsn))
            told_as_json = run_command(["retention", "run", "--json"], settings(world.dsn))
        await_true(lambda: len(world.audits()) == 1, "the first one has ended")
        assert "short_101" not in world.events()
        await_true(lambda: first.output_path.read_text() != "", "it has told")

    assert (told.returncode, told.stdout, told.stderr) == (0, "a run is under way already\n", "")
    assert (told_as_json.returncode, json.loads(told_as_json.stdout)) == (0, {"under_way": True})
    assert json.loads(first.output_path.read_text())["events"] == 7
    assert world.events() == LEFT


def test_a_run_that_is_killed_is_made_good_by_the_next_one(world: World, tmp_path: Path) -> None:
    """Killed in the middle, a run leaves no lock and nothing half done, and the next one comes to the same end."""
    fill(world)
    with Program("retention", "run", settings=settings(world.dsn), folder=tmp_path) as first:
        with holding(world, 101):
            await_held_up(world)
            assert first.kill() == -9
            assert world.events() > LEFT
            assert world.audits() == []
        gone = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'ingest-operator' AND datname = %s"
        await_true(lambda: not ask(world.dsn, gone, (urlsplit(world.dsn).path[1:],)), "the server has noticed")

    assert run(world.dsn) is not None
    assert world.events() == LEFT
    assert world.ages() == LEFT_AGES
    assert len(world.audits()) == 1


def test_a_day_in_use_is_left_to_the_next_run(world: World) -> None:
    """A long query does not hold up a run, nor does the run hold up others behind it for long."""
    world.add_on(DEFAULT_DAYS + 1, world.long)
    with psycopg.connect(world.dsn) as reader:
        reader.execute("SELECT count(*) FROM events")
        held = run(world.dsn)
        reader.rollback()

    assert held == NOTHING._replace(put_off=1)
    assert run(world.dsn) == NOTHING._replace(event_days=1)


def test_a_row_that_is_written_meanwhile_is_not_lost(world: World) -> None:
    """A day looks empty as long as its only row is not committed; its drop waits and then looks again."""
    world.make(100)
    noon = datetime.combine(world.day(100), time(12), UTC)
    ends: list[Drop] = []

    def drop() -> None:
        async def work() -> None:
            async with opened(world.dsn) as database:
                ends.append(
                    await database.run(
                        lambda connection: drop_day(connection, "events", world.day(100), only_empty=True)
                    )
                )

        asyncio.run(work())

    with psycopg.connect(world.dsn) as writer:
        writer.execute(
            "INSERT INTO events (app_id, event_id, ts, project_id, organization_id, name, received_at, source, event,"
            " meta) VALUES ('app_a', 'late', %s, 'prj_a', 'org_a', 'view', now(), 'sdk', '{}', '{}')",
            (noon,),
        )
        dropping = threading.Thread(target=drop)
        dropping.start()
        await_held_up(world, "test", "%drop_day_partition%")
        writer.commit()
    dropping.join()

    assert ends[0] in {Drop.KEPT, Drop.BUSY}
    assert world.events() == {"late"}


def test_rows_of_a_day_that_was_dropped_are_taken(world: World) -> None:
    """Who knows a day to be there writes on after its drop: the row goes to the default partition."""
    sent = event(event_id="late") | {"timestamp": f"{world.day(100)}T12:00:00Z"}
    (record,) = delivered(body(sent))

    async def work() -> None:
        async with opened(world.dsn) as database:
            await database.transact(lambda connection: insert_events(connection, []))
            assert await purge(database, DEFAULT_DAYS, KIM) == NOTHING._replace(event_days=1)
            await database.transact(lambda connection: insert_events(connection, [to_row(record).line]))

    world.make(100)
    asyncio.run(work())
    assert ask(world.dsn, "SELECT event_id, tableoid::regclass::text AS part FROM events") == [
        {"event_id": "late", "part": "events_default"}
    ]


def test_the_role_of_the_persisting_process_suffices(world: World, persist_dsn: str) -> None:
    """A login with its rights does the whole run, as the owner does."""
    fill(world)
    world.add("wrong_clock", world.long, datetime(2190, 1, 1, tzinfo=UTC), world.now - timedelta(days=401))
    for table, columns in (
        ("audit_events (id, at, actor, action, target_type, target_id)", "'aud_old', '2000-01-01', 'a', 'b', 'c', 'd'"),
        ("outbox (id, message_id, recipient, payload, delivered_at)", "'a', 'm', 'support', '{}', '2000-01-01'"),
        (
            "deliveries (app_id, event_id, event_at, platform, fate, recorded_at)",
            "'a', 'e', '', 'meta', 'sent', now() - interval '31 days'",
        ),
        ("erasures (id, organization_id, project_id, subjects, completed_at)", "'a', 'o', 'p', '{}', '2000-01-01'"),
        (
            "erased_subjects (project_id, subject, erasure_id, received_until)",
            "'p', repeat('a', 64), 'a', '2000-01-01'",
        ),
    ):
        ask(world.dsn, f"INSERT INTO {table} VALUES ({columns})")  # noqa: S608 - our own words
    ask(
        world.dsn,
        "CREATE TABLE request_log_20200101 PARTITION OF request_log FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')",
    )

    assert run(persist_dsn, actor=ACTOR) == Purged(5, 8, 1, 1, 1, 1, 1, 1, 0)
    assert world.events() == LEFT
    assert world.ages() == LEFT_AGES
    assert [row["actor"] for row in world.audits()] == ["system:persist"]


def scheduled(dsn: str, holds: Callable[[], bool]) -> None:
    """Let the schedule run, without pauses, until something holds."""

    async def work() -> None:
        async with opened(dsn) as database:
            schedule = RetentionSchedule(database, DEFAULT_DAYS, SystemClock(), pace=Pace(0.0, 0.0, 0.0))
            async with schedule.at_work():
                await asyncio.to_thread(await_true, holds, "the schedule is at work")

    asyncio.run(work())


def test_it_runs_by_itself_again_and_again(world: World, persist_dsn: str) -> None:
    """Beside the loop of the process runs follow each other, each written down, but for those that others make."""
    fill(world)
    with psycopg.connect(world.dsn, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        assert run(persist_dsn, actor=ACTOR) is None
        assert world.audits() == []
    scheduled(persist_dsn, lambda: len(world.audits()) >= 2)

    assert world.events() == LEFT
    assert {row["actor"] for row in world.audits()} == {"system:persist"}


def test_the_process_has_the_days_of_the_setting(world: World, tmp_path: Path) -> None:
    """What an operator sets is what the process keeps."""
    given = {"INGEST_EVENTS_RETENTION_DAYS": "90", "INGEST_SPOOL_KEY": SealKeys.generate()}
    read = load({**settings(world.dsn), **given, "INGEST_DATA_DIR": str(tmp_path)}, role="persist")

    async def build() -> int:
        return build_persist(read).retention._events_days

    assert asyncio.run(build()) == 90


def test_the_end_of_the_process_waits_for_no_run(world: World) -> None:
    """A run that is held up is broken off, and whoever runs next does what is left."""
    fill(world)
    with holding(world, 101):
        scheduled(world.dsn, lambda: bool(ask(world.dsn, HELD_UP, ("test", "%DELETE FROM events %"))))
        assert "short_101" in world.events()
    ended = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'test' AND datname = current_database()"
    await_true(lambda: not ask(world.dsn, ended), "the server has noticed")

    assert run(world.dsn) is not None
    assert world.events() == LEFT
