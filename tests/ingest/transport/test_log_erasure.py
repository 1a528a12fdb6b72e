"""Erasing from the local log: what is covered is gone, all others are where they were, and nothing counts as lost."""

import asyncio
import contextlib
import itertools
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.event import Record
from ingest.transport import spool_view
from ingest.transport.contract import Topic, Unavailable
from ingest.transport.log_format import Damage, Disk, Totals
from ingest.transport.sealed import SealKeys
from tests.ingest.transport.log_tools import KEY, batch, fill, offsets, opened, read_all

KEYS = SealKeys.parse(KEY)


def record(name: str) -> Record:
    """Make a record that is about somebody."""
    return Record(b"k", name.encode())


def about(*names: str) -> Callable[[bytes], bool]:
    """Hold for records about these."""
    return lambda value: value.decode() in names


def sealed_chunks(folder: Path) -> list[bytes]:
    """Return the sealed bytes of all chunks."""
    with contextlib.closing(sqlite3.connect(f"file:{folder}/log.db?mode=ro", uri=True)) as database:
        return [sealed for (sealed,) in database.execute("SELECT sealed FROM chunk ORDER BY topic, first_offset")]


def on_disk(folder: Path, needle: bytes) -> bool:
    """Tell whether any file of the folder holds these bytes."""
    return any(needle in path.read_bytes() for path in folder.iterdir())


def run(story: Callable[[], Any]) -> None:
    """Run a test's story."""

    async def main() -> None:
        async with asyncio.timeout(60):
            await story()

    asyncio.run(main())


people = st.sampled_from(["ann", "bob", "cyd", "dee"])


@settings(max_examples=40, deadline=None)
@given(
    batches=st.lists(st.lists(people, min_size=1, max_size=5), max_size=6),
    erased=st.lists(st.frozensets(people, max_size=3), min_size=1, max_size=3),
    later=st.lists(people, min_size=1, max_size=3),
    is_reopened=st.booleans(),
)
def test_readers_see_exactly_the_others(
    batches: list[list[str]], erased: list[frozenset[str]], later: list[str], *, is_reopened: bool
) -> None:
    """In order, under their old offsets, after any erasures; appends go on behind, and every record has one fate."""
    everybody = [name for some in batches for name in some]
    gone = frozenset[str]().union(*erased)
    expected = [(offset, name) for offset, name in enumerate(everybody) if name not in gone]
    behind = list(enumerate(later, len(everybody)))

    async def story() -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            async with opened(folder) as log:
                for number, some in enumerate(batches):
                    await log.publish(Topic.EVENTS, [record(each) for each in some], number)
                counts = [await log.erase(about(*names)) for names in erased]
                if not is_reopened:
                    await log.publish(Topic.EVENTS, [record(each) for each in later], 9)
            async with opened(folder) as log:
                if is_reopened:
                    await log.publish(Topic.EVENTS, [record(each) for each in later], 9)
                totals = log.totals
                assert log.damage == []
                assert log.health().reason == ""
            records, damage = await read_all(folder)
            assert [(each.offset, each.value.decode()) for each in records] == expected + behind
            assert damage == []
            assert sum(counts) == len(everybody) - len(expected)
            assert totals == Totals(
                stored=len(everybody) + len(later), waiting=len(expected) + len(later), erased=sum(counts)
            )
            assert list(spool_view.faults(folder, KEYS)) == []

    run(story)


def test_only_topics_about_people_are_looked_through(tmp_path: Path) -> None:
    """All of them, and no other."""

    async def story() -> None:
        async with opened(tmp_path) as log:
            for topic in Topic:
                await log.publish(topic, [record("ann"), record("bob")], 1)
            assert await log.erase(about("ann")) == 5
        left = {topic: [each.value for each in (await read_all(tmp_path, topic))[0]] for topic in Topic}
        assert {topic for topic, values in left.items() if values == [b"bob"]} == {
            Topic.EVENTS, Topic.USER_PROPERTIES, Topic.CONSENT, Topic.FORWARD, Topic.FORWARD_PARKED
        }  # fmt: skip

    run(story)


def test_the_old_bytes_are_overwritten(tmp_path: Path) -> None:
    """Neither database nor WAL holds a replaced chunk any more; one without the person is not touched."""

    async def story() -> None:
        async with opened(tmp_path) as log:
            await log.publish(Topic.EVENTS, [record("ann"), Record(b"k", b"x" * 50_000)], 1)
            await log.publish(Topic.EVENTS, [record("bob")], 2)
            with_ann, without_ann = sealed_chunks(tmp_path)
            assert on_disk(tmp_path, with_ann[-1000:])
            await log.erase(about("ann"))
            parts = [with_ann[begin : begin + 64] for begin in range(0, len(with_ann) - 64, 4096)]
            assert not any(on_disk(tmp_path, part) for part in parts)
            assert on_disk(tmp_path, without_ann)

    run(story)


def test_a_wal_that_a_reader_holds_is_emptied_later(tmp_path: Path) -> None:
    """The erasure does not fail for it, and the next one makes up for it though it finds nothing."""

    async def story() -> None:
        async with opened(tmp_path) as log:
            await log.publish(Topic.EVENTS, [record("ann"), record("bob")], 1)
            (old,) = sealed_chunks(tmp_path)
            reader = sqlite3.connect(f"file:{tmp_path}/log.db?mode=ro", uri=True, isolation_level=None)
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM chunk").fetchall()
            assert await log.erase(about("ann")) == 1
            held = on_disk(tmp_path, old)
            reader.close()
            assert await log.erase(about("ann")) == 0
            assert (held, on_disk(tmp_path, old)) == (True, False)

    run(story)


def test_a_crash_right_behind_it_keeps_it(tmp_path: Path) -> None:
    """The files as a power cut would leave them hold the new chunk, and the whole log besides."""
    copy = tmp_path / "copy"

    async def story() -> None:
        async with opened(tmp_path / "log") as log:
            await log.publish(Topic.EVENTS, [record("ann"), record("bob")], 1)
            await log.publish(Topic.EVENTS, [record("ann"), record("cyd")], 2)
            await log.erase(about("ann"))
            await asyncio.to_thread(shutil.copytree, tmp_path / "log", copy)
        async with opened(copy) as log:
            assert log.damage == []
            await log.publish(Topic.EVENTS, [record("dee")], 3)
        records, damage = await read_all(copy)
        assert [(each.offset, each.value) for each in records] == [(1, b"bob"), (3, b"cyd"), (4, b"dee")]
        assert damage == []

    run(story)


class Failing(sqlite3.Connection):
    """Fails the statement that is due, counted from when `armed` is set: as a disk that refuses in the middle."""

    left: ClassVar[int] = -1

    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        """Execute or fail."""
        if Failing.left == 0:
            raise sqlite3.OperationalError("disk I/O error")
        Failing.left -= 1
        return super().execute(statement, *parameters)


@pytest.mark.parametrize("statements", range(9))
def test_wherever_the_disk_refuses_each_chunk_is_old_or_new(tmp_path: Path, statements: int) -> None:
    """The erasure then says `Unavailable`; tried again it is complete, and nothing else is missing."""

    async def story() -> None:
        async with opened(tmp_path, disk=Disk(connection=Failing)) as log:
            await log.publish(Topic.EVENTS, [record("ann"), record("bob")], 1)
            await log.publish(Topic.EVENTS, [record("cyd"), record("ann")], 2)
            Failing.left = statements
            try:
                with contextlib.suppress(Unavailable):
                    await log.erase(about("ann"))
                between, damage = await read_all(tmp_path)
            finally:
                Failing.left = -1
            assert damage == []
            assert [each.offset for each in between if each.value != b"ann"] == [1, 2]
            await log.erase(about("ann"))
            assert log.totals == Totals(stored=4, waiting=2, erased=2)
        records, damage = await read_all(tmp_path)
        assert (offsets(records), damage) == ([1, 2], [])

    run(story)


def test_publishes_go_on_meanwhile(tmp_path: Path) -> None:
    """What is published during erasures is stored, and nothing of it is lost."""

    async def story() -> None:
        async with opened(tmp_path) as log:
            for number in range(50):
                await log.publish(Topic.EVENTS, [record("ann"), record("bob")], number)
            erasing = asyncio.gather(log.erase(about("ann")), log.erase(about("bob")))
            for number in range(50):
                await log.publish(Topic.EVENTS, [record("cyd")], number)
            assert sum(await erasing) == 100
        records, damage = await read_all(tmp_path)
        assert (offsets(records), damage) == (list(range(100, 150)), [])

    run(story)


def test_retention_and_deletion_count_what_was_erased_once(tmp_path: Path) -> None:
    """A chunk that is deleted takes its places with it; its erased records stay counted as erased."""

    async def story() -> None:
        async with opened(tmp_path) as log:
            for number in range(4):
                await log.publish(Topic.EVENTS, [record("ann"), record("bob")], number)
            await log.erase(about("ann"))
            assert await log.delete_below(Topic.EVENTS, 4) == 4
            assert log.totals == Totals(stored=8, deleted=2, waiting=2, erased=4)
        async with opened(tmp_path) as log:
            assert log.totals == Totals(stored=8, deleted=2, waiting=2, erased=4)
            await log.erase(about("bob"))
            assert log.totals == Totals(stored=8, deleted=2, waiting=0, erased=6)
            assert log.oldest_age_ms == 0
        assert spool_view.look(tmp_path).oldest_ms is None
        assert list(spool_view.faults(tmp_path, KEYS)) == []

    run(story)


def test_a_damaged_chunk_is_stepped_over(tmp_path: Path) -> None:
    """It is reported as before; those around it are looked through."""

    async def story() -> None:
        await fill(tmp_path, 3)
        with contextlib.closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as database:
            database.execute("UPDATE chunk SET record_count = 1 << 40 WHERE first_offset = 2")
            database.execute("UPDATE topic SET next_offset = 6")
        async with opened(tmp_path) as log:
            assert await log.erase(about("k-0")) == 2
        records, damage = await read_all(tmp_path)
        assert (offsets(records), [each[:3] for each in damage]) == ([1, 5], [("events", 2, 2)])

    run(story)


def test_what_was_erased_survives_a_salvage(tmp_path: Path) -> None:
    """A database that is replaced keeps the places and the counts."""

    async def story() -> None:
        async with opened(tmp_path) as log:
            for number in range(3):
                await log.publish(Topic.EVENTS, [record("ann"), record("bob")], number)
            await log.erase(about("ann"))
            await log.delete_below(Topic.EVENTS, 2)
            before = log.totals
            await log.set_aside(Damage("events", 2, 1, "as if SQLite could not read it"), replace=True)
            assert log.totals == before == Totals(stored=6, deleted=1, waiting=2, erased=3)
            await log.erase(about("bob"))
        assert spool_view.look(tmp_path).totals == Totals(stored=6, deleted=1, waiting=0, erased=5)
        assert list(spool_view.faults(tmp_path, KEYS)) == []

    run(story)


def test_an_old_log_is_read_and_goes_on(tmp_path: Path) -> None:
    """Files of the format before are looked at as they are; opened to write they get the new table and keep all."""

    async def story() -> None:
        await fill(tmp_path, 2)
        with contextlib.closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as database:
            database.executescript("DROP TABLE erased; PRAGMA user_version = 2")
        assert spool_view.look(tmp_path).totals == Totals(stored=4, waiting=4)
        assert list(spool_view.faults(tmp_path, KEYS)) == []
        assert offsets((await read_all(tmp_path))[0]) == [0, 1, 2, 3]
        async with opened(tmp_path) as log:
            assert await log.erase(about("k-1")) == 2
            await log.publish(Topic.EVENTS, batch("k", 1), 1)
        records, damage = await read_all(tmp_path)
        assert (offsets(records), damage) == ([0, 2, 4], [])

    run(story)


def test_what_was_sealed_with_an_older_key_is_sealed_with_the_first(tmp_path: Path) -> None:
    """So that the older key can go no later for it."""
    new = SealKeys.generate()

    async def story() -> None:
        async with opened(tmp_path) as log:
            await log.publish(Topic.EVENTS, [record("ann"), record("bob")], 1)
        async with opened(tmp_path, f"{new},{KEY}") as log:
            assert await log.erase(about("ann")) == 1
        records, _ = await read_all(tmp_path, key=new)
        assert [each.value for each in records] == [b"bob"]

    run(story)


def test_a_closed_log_says_so(tmp_path: Path) -> None:
    """As every other order does."""

    async def story() -> None:
        async with opened(tmp_path) as log:
            await log.publish(Topic.EVENTS, [record("ann")], 1)
        with pytest.raises(Unavailable, match="not open"):
            await log.erase(about("ann"))

    run(story)


def test_many_small_chunks_take_few_transactions(tmp_path: Path) -> None:
    """They are replaced by the look, not one by one, so that the writer is asked seldom."""
    orders = itertools.count()

    class Counting(sqlite3.Connection):
        def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
            if statement == "BEGIN IMMEDIATE":
                next(orders)
            return super().execute(statement, *parameters)

    async def story() -> None:
        async with opened(tmp_path, disk=Disk(connection=Counting)) as log:
            for number in range(60):
                await log.publish(Topic.EVENTS, [record("ann"), record("bob")], number)
            before = next(orders)
            assert await log.erase(about("ann")) == 60
            assert next(orders) - before < 60

    run(story)
