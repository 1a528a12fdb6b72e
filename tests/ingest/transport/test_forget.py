"""What consumer groups are done with goes from a local log: unreadable, its bytes nowhere, and the rest as it was."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from operator import eq
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.event import Record
from ingest.transport import spool_view
from ingest.transport.contract import Topic, Unavailable
from ingest.transport.forget import LogForgetter
from ingest.transport.local_source import LocalLogSource
from ingest.transport.log_format import Disk, Totals
from ingest.transport.sealed import SealKeys
from tests.ingest.transport.log_tools import KEY, ROOT, batch, opened, read_all

KEYS = SealKeys.parse(KEY)
GROUP = "forward"
DONE = {Topic.FORWARD: GROUP}
ID = b"5E7A4B1C-advertising"


def sealed_chunks(folder: Path) -> list[bytes]:
    """Return the sealed bytes of all chunks."""
    with contextlib.closing(sqlite3.connect(f"file:{folder}/log.db?mode=ro", uri=True)) as database:
        return [sealed for (sealed,) in database.execute("SELECT sealed FROM chunk ORDER BY topic, first_offset")]


def pieces(sealed: bytes) -> list[bytes]:
    """Return samples of all of a chunk: it is written in pages, and one may outlive another."""
    return [sealed[begin : begin + 48] for begin in range(0, max(1, len(sealed) - 48), 1024)]


def files(folder: Path) -> Iterator[bytes]:
    """Yield what every file below the folder holds."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.read_bytes()


def on_disk(folder: Path, *sealed: bytes) -> bool:
    """Tell whether any file holds any piece of these chunks."""
    return any(piece in content for content in files(folder) for each in sealed for piece in pieces(each))


async def take(folder: Path, records: int, topic: Topic = Topic.FORWARD) -> None:
    """Consume that many records as the group, and commit."""
    source = LocalLogSource(folder, KEYS, topic, GROUP)
    await source.start()
    try:
        taken = 0
        while taken < records:
            taken += len(await source.poll(records - taken, 10_000))
        await source.commit()
    finally:
        await source.close()


def run(story: Callable[[], Awaitable[None]]) -> None:
    """Run a test's story."""

    async def main() -> None:
        async with asyncio.timeout(60):
            await story()

    asyncio.run(main())


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(20):
        while not await asyncio.to_thread(holds):  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.02)


def test_what_is_done_is_gone_from_every_file(tmp_path: Path) -> None:
    """Whole chunks and the front of one: no file holds a byte of what was, and readers see the rest alone."""

    async def story() -> None:
        async with opened(tmp_path) as log:
            for number in range(4):
                await log.publish(Topic.FORWARD, [Record(b"k", ID * 300)] * 5, number)
            await log.publish(Topic.EVENTS, batch("k", 5), 1)
            events, *forward = sealed_chunks(tmp_path)
            assert all(on_disk(tmp_path, chunk) for chunk in forward)
            await take(tmp_path, 12)
            await LogForgetter(log, tmp_path, DONE).look()
            assert not on_disk(tmp_path, *forward[:3])
            assert on_disk(tmp_path, events)
            assert on_disk(tmp_path, forward[3])
            assert [each.offset for each in (await read_all(tmp_path, Topic.FORWARD))[0]] == list(range(12, 20))
            assert log.totals == Totals(stored=25, deleted=12, waiting=13)
        assert not any(ID in content for content in files(tmp_path))
        assert list(spool_view.faults(tmp_path, KEYS)) == []

    run(story)


def test_everything_done_leaves_nothing(tmp_path: Path) -> None:
    """A reader from the beginning gets none, offsets go on, and other groups and topics have no say."""

    async def story() -> None:
        async with opened(tmp_path) as log:
            await log.publish(Topic.FORWARD, batch("k", 5), 1)
            await log.publish(Topic.FORWARD_PARKED, batch("k", 5), 1)
            chunks = sealed_chunks(tmp_path)
            await take(tmp_path, 5)
            await take(tmp_path, 5, Topic.FORWARD_PARKED)
            await LogForgetter(log, tmp_path, DONE).look()
            assert [on_disk(tmp_path, chunk) for chunk in chunks] == [False, True]
            assert await read_all(tmp_path, Topic.FORWARD) == ([], [])
            await log.publish(Topic.FORWARD, batch("new", 1), 2)
            assert [each.offset for each in (await read_all(tmp_path, Topic.FORWARD))[0]] == [5]

    run(story)


def test_a_start_deletes_what_was_committed_before(tmp_path: Path) -> None:
    """It begins with it by itself, and goes on with what is committed later."""

    async def story() -> None:
        async with opened(tmp_path) as log:
            await log.publish(Topic.FORWARD, batch("k", 4), 1)
            (first,) = sealed_chunks(tmp_path)
        await take(tmp_path, 4)
        assert on_disk(tmp_path, first)
        async with opened(tmp_path) as log:
            forgetter = LogForgetter(log, tmp_path, DONE, look_s=0.02)
            await forgetter.start()
            await until(lambda: not on_disk(tmp_path, first))
            await log.publish(Topic.FORWARD, batch("k", 4), 2)
            (second,) = sealed_chunks(tmp_path)
            await take(tmp_path, 4)
            await until(lambda: not on_disk(tmp_path, second))
            await forgetter.close()

    run(story)


def test_an_end_deletes_what_was_committed_last(tmp_path: Path) -> None:
    """As the last thing, where the log is still open; a log that was closed before is left alone."""

    async def story() -> None:
        async with opened(tmp_path) as log:
            late = LogForgetter(log, tmp_path, DONE, look_s=60)
            await late.start()
            await asyncio.sleep(0)
            await log.publish(Topic.FORWARD, batch("k", 4), 1)
            (chunk,) = sealed_chunks(tmp_path)
            await take(tmp_path, 4)
            await late.close()
            assert not on_disk(tmp_path, chunk)
            later = LogForgetter(log, tmp_path, DONE, look_s=60)
            await later.start()
        await later.close()
        assert later.fault == ""

    run(story)


CONSUME_AND_DIE = """
import asyncio, os, signal, sys
from pathlib import Path
from ingest.event import Record
from ingest.transport.contract import Topic
from ingest.transport.local_log import LocalLog
from ingest.transport.local_source import LocalLogSource
from ingest.transport.sealed import SealKeys

async def main(folder):
    keys = SealKeys.parse(os.environ["KEY"])
    log = LocalLog(folder, keys, bytes_max=64 * 2**20)
    await log.start()
    await log.publish(Topic.FORWARD, [Record(b"k", b"v" * 5_000)] * 4, 1)
    source = LocalLogSource(folder, keys, Topic.FORWARD, "forward")
    await source.start()
    await source.poll(3, 10_000)
    await source.commit()
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(Path(sys.argv[1])))
"""


def test_a_kill_between_commit_and_deletion_is_made_up_for(tmp_path: Path) -> None:
    """The next start deletes what a process that was killed had committed, out of its write-ahead log too."""

    async def story() -> None:
        killed = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", CONSUME_AND_DIE, str(tmp_path)),
            cwd=ROOT,
            env={**os.environ, "KEY": KEY, "PYTHONPATH": str(ROOT)},
        )
        assert await killed.wait() == -signal.SIGKILL
        (chunk,) = sealed_chunks(tmp_path)
        assert on_disk(tmp_path, chunk)
        async with opened(tmp_path) as log:
            await LogForgetter(log, tmp_path, DONE).look()
            assert not on_disk(tmp_path, chunk)
            assert [each.offset for each in (await read_all(tmp_path, Topic.FORWARD))[0]] == [3]

    run(story)


def test_a_wal_that_a_reader_holds_is_emptied_without_further_orders(tmp_path: Path) -> None:
    """A log that nothing else is asked of makes up for it once the reader is gone."""

    async def story() -> None:
        async with opened(tmp_path) as log:
            await log.publish(Topic.FORWARD, batch("k", 4), 1)
            (chunk,) = sealed_chunks(tmp_path)
            await take(tmp_path, 2)
            with contextlib.closing(
                sqlite3.connect(f"file:{tmp_path}/log.db?mode=ro", uri=True, isolation_level=None)
            ) as reader:
                reader.execute("BEGIN")
                reader.execute("SELECT * FROM chunk").fetchall()
                await LogForgetter(log, tmp_path, DONE).look()
                assert on_disk(tmp_path, chunk)
            await until(lambda: not on_disk(tmp_path, chunk))

    run(story)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=3), min_size=1, max_size=5),
    steps=st.lists(st.tuples(st.sampled_from(["forget", "erase"]), st.integers(0, 60)), min_size=1, max_size=6),
)
def test_each_record_has_one_fate(sizes: list[list[int]], steps: list[tuple[str, int]]) -> None:
    """However deletions and erasures alternate: readers see exactly the others, and the counts add up."""

    async def story(folder: Path) -> None:
        async with opened(folder) as log:
            count = 0
            for chunk in sizes:
                parts = []
                for size in chunk:
                    parts.append([Record(b"k", b"%d" % number) for number in range(count, count + size)])
                    count += size
                publishes = [log.publish(Topic.FORWARD, part, 1) for part in parts]
                await asyncio.gather(*publishes)  # as a rule one chunk holds them all
            below, erased = 0, set[int]()
            for step, some in steps:
                number = min(some, count)
                if step == "forget":
                    await log.forget_below(Topic.FORWARD, number)
                    below = max(below, number)
                elif below <= number < count:
                    await log.erase(partial(eq, b"%d" % number))
                    erased.add(number)
            totals = log.totals
        left = [number for number in range(below, count) if number not in erased]
        records, damage = await read_all(folder, Topic.FORWARD)
        assert [(each.offset, int(each.value)) for each in records] == [(number, number) for number in left]
        assert damage == []
        gone = len([number for number in range(below) if number not in erased])
        assert totals == Totals(stored=count, deleted=gone, waiting=len(left), erased=len(erased))
        assert list(spool_view.faults(folder, KEYS)) == []

    with tempfile.TemporaryDirectory() as name:
        run(lambda: story(Path(name)))


class Failing(sqlite3.Connection):
    """Fails the statement that is due: as a disk that refuses in the middle."""

    left: ClassVar[int] = -1

    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        """Execute or fail."""
        if Failing.left == 0:
            raise sqlite3.OperationalError("disk I/O error")
        Failing.left -= 1
        return super().execute(statement, *parameters)


@pytest.mark.parametrize("statements", range(12))
def test_wherever_the_disk_refuses_nothing_else_is_missing(tmp_path: Path, statements: int) -> None:
    """The deletion then says so, and tried again it is complete."""

    async def story() -> None:
        async with opened(tmp_path, disk=Disk(connection=Failing)) as log:
            await log.publish(Topic.FORWARD, batch("k", 2), 1)
            await log.publish(Topic.FORWARD, batch("k", 4), 2)
            Failing.left = statements
            try:
                with contextlib.suppress(Unavailable):
                    await log.forget_below(Topic.FORWARD, 4)
                between, damage = await read_all(tmp_path, Topic.FORWARD)
            finally:
                Failing.left = -1
            assert damage == []
            assert [each.offset for each in between][-2:] == [4, 5]
            await log.forget_below(Topic.FORWARD, 4)
            assert log.totals == Totals(stored=6, deleted=4, waiting=2)
        assert [each.offset for each in (await read_all(tmp_path, Topic.FORWARD))[0]] == [4, 5]

    run(story)


def test_a_log_that_does_not_work_is_asked_again(tmp_path: Path) -> None:
    """What could not be deleted goes with a later look."""

    async def story() -> None:
        async with opened(tmp_path, disk=Disk(connection=Failing)) as log:
            await log.publish(Topic.FORWARD, batch("k", 2), 1)
            (chunk,) = sealed_chunks(tmp_path)
            await take(tmp_path, 2)
            forgetter = LogForgetter(log, tmp_path, DONE)
            Failing.left = 0
            try:
                await forgetter.look()
            finally:
                Failing.left = -1
            assert forgetter.fault == "OperationalError: disk I/O error"
            await forgetter.look()
            assert forgetter.fault == ""
            assert not on_disk(tmp_path, chunk)

    run(story)


def test_a_consumer_reads_on_in_a_chunk_that_was_cut(tmp_path: Path) -> None:
    """Deletions behind it take nothing away from it, and after a restart it stands where it committed."""

    async def story() -> None:
        async with opened(tmp_path) as log:
            await log.publish(Topic.FORWARD, batch("k", 9), 1)
            source = LocalLogSource(tmp_path, KEYS, Topic.FORWARD, GROUP)
            await source.start()
            seen = [each.offset for each in await source.poll(2, 10_000)]
            await source.commit()
            await log.forget_below(Topic.FORWARD, 2)
            seen += [each.offset for each in await source.poll(3, 10_000)]
            await source.commit()
            await source.close()
            await log.forget_below(Topic.FORWARD, 5)
            source = LocalLogSource(tmp_path, KEYS, Topic.FORWARD, GROUP)
            await source.start()
            seen += [each.offset for each in await source.poll(9, 10_000)]
            await source.close()
        assert seen == list(range(9))

    run(story)
