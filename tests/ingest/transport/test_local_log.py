import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ingest.clock import FakeClock
from ingest.event import Record
from ingest.transport.contract import ConfigurationError, Stored, Topic, Unavailable
from ingest.transport.local_log import LocalLog
from ingest.transport.local_source import LocalLogSource
from ingest.transport.log_format import Disk
from ingest.transport.sealed import SealKeys
from tests.ingest.transport.log_tools import KEY, ROOT, batch, opened, read_all

MINUTE_MS = 60_000


def chunks(folder: Path) -> int:
    """Count the rows of the table `chunk`."""
    with contextlib.closing(sqlite3.connect(f"file:{folder}/log.db?mode=ro", uri=True)) as database:
        return int(database.execute("SELECT count(*) FROM chunk").fetchone()[0])


def on_disk(folder: Path, needle: bytes) -> bool:
    """Tell whether any file of the folder holds these bytes."""
    return any(needle in path.read_bytes() for path in folder.iterdir())


async def publish_until_full(log: LocalLog, records: list[Record], publishes_max: int) -> int:
    """Publish until the log is full and return how often it took `records`."""
    for number in range(publishes_max):
        try:
            await log.publish(Topic.EVENTS, records, number)
        except Unavailable:
            return number
    raise AssertionError("the log never got full")


class SlowDisk:
    """A disk whose syncs of the high-water mark wait until they are let go."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.let_go = threading.Event()
        self.let_go.set()

    def sync(self, file: int) -> None:
        """Stand in for `fdatasync`."""
        self.reached.set()
        assert self.let_go.wait(30)
        os.fsync(file)


def test_only_the_owner_can_read_the_files(tmp_path: Path) -> None:
    """The folder has mode 0700 and every file in it 0600, also while it is in use."""

    async def story() -> None:
        folder = tmp_path / "log"
        async with opened(folder) as log:
            await log.publish(Topic.EVENTS, batch("k", 1), 1)
            source = LocalLogSource(folder, SealKeys.parse(KEY), Topic.EVENTS, "persist")
            await source.start()
            assert await source.poll(1, 0)
            await source.commit()
            files = [path for path in folder.rglob("*") if path.is_file()]
            assert len(files) >= 7
            assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
            assert {path.stat().st_mode & 0o777 for path in (folder, folder / "cursors")} == {0o700}
            await source.close()

    asyncio.run(story())


def test_nothing_readable_lies_on_disk(tmp_path: Path) -> None:
    """Neither keys nor values appear in any file, WAL included."""

    async def story() -> None:
        async with opened(tmp_path) as log:
            await log.publish(Topic.EVENTS, [Record(b"app:install-canary", b"value-canary")], 1)
            assert not on_disk(tmp_path, b"canary")
        assert not on_disk(tmp_path, b"canary")

    asyncio.run(story())


def test_nothing_is_acknowledged_before_the_sync_and_the_rest_shares_one_commit(tmp_path: Path) -> None:
    """While one commit is synced its caller waits, and all that comes meanwhile is stored in one chunk."""

    async def story() -> None:
        disk = SlowDisk()
        async with opened(tmp_path, disk=Disk(sync=disk.sync)) as log:
            disk.reached.clear()
            disk.let_go.clear()
            first = asyncio.create_task(log.publish(Topic.EVENTS, batch("first", 2), 1))
            await asyncio.to_thread(disk.reached.wait)
            later = [asyncio.create_task(log.publish(Topic.EVENTS, batch(f"k{n}", 2), 1)) for n in range(20)]
            await asyncio.sleep(0)
            assert not first.done()
            assert log.health().pending_records == 42
            disk.let_go.set()
            assert set(await asyncio.gather(first, *later)) == {Stored.SPOOLED}
            assert chunks(tmp_path) == 2

    asyncio.run(story())


def test_a_disk_that_hangs_is_told_in_time(tmp_path: Path) -> None:
    """Callers hear `Unavailable` at their deadline, health names the age, and all heals when the disk goes on."""

    async def story() -> None:
        disk, clock = SlowDisk(), FakeClock()
        async with opened(tmp_path, disk=Disk(sync=disk.sync), clock=clock, ack_deadline_ms=30) as log:
            disk.let_go.clear()
            with pytest.raises(Unavailable, match="30 ms"):
                await log.publish(Topic.EVENTS, batch("late", 3), 1)
            clock.advance(5_000)
            health = log.health()
            assert (health.ok, health.pending_records, health.pending_age_ms) == (False, 3, 5_000)
            assert "5000 ms" in health.reason
            disk.let_go.set()
            await log.trim(Topic.EVENTS, 0)  # carried out behind what waited
            assert log.health() == (True, "", 0, 0)
            assert len((await read_all(tmp_path))[0]) == 3

    asyncio.run(story())


def test_a_full_inbox_turns_callers_away_at_once(tmp_path: Path) -> None:
    """Beyond the bound nothing is queued, and there is room again once the disk has caught up."""

    async def story() -> None:
        disk = SlowDisk()
        async with opened(tmp_path, disk=Disk(sync=disk.sync), waiting_bytes_max=1_000) as log:
            disk.let_go.clear()
            waiting = asyncio.create_task(log.publish(Topic.EVENTS, [Record(b"k", b"v" * 900)], 1))
            await asyncio.sleep(0)
            with pytest.raises(Unavailable, match="wait for the disk"):
                await log.publish(Topic.EVENTS, [Record(b"k", b"v" * 900)], 1)
            disk.let_go.set()
            await waiting
            await log.publish(Topic.EVENTS, [Record(b"k", b"v" * 900)], 1)

    asyncio.run(story())


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    """One folder has one writer; the refusal says so, and the folder is free again after a close."""

    async def story() -> None:
        async with opened(tmp_path):
            second = LocalLog(tmp_path, SealKeys.parse(KEY), bytes_max=2**20)
            with pytest.raises(ConfigurationError, match="in use by another process"):
                await second.start()
            await second.close()
        async with opened(tmp_path) as log:
            assert await log.publish(Topic.EVENTS, batch("k", 1), 1) is Stored.SPOOLED

    asyncio.run(story())


def test_another_key_is_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    """With the wrong key neither end starts; with the right one everything is there."""
    other = SealKeys.generate()

    async def story() -> None:
        async with opened(tmp_path) as log:
            await log.publish(Topic.EVENTS, batch("k", 3), 1)
        wrong = LocalLog(tmp_path, SealKeys.parse(other), bytes_max=2**20)
        with pytest.raises(ConfigurationError, match="other keys than given"):
            await wrong.start()
        with pytest.raises(ConfigurationError, match="other keys than given"):
            (await read_all(tmp_path, key=other))[0]
        assert len((await read_all(tmp_path))[0]) == 3

    asyncio.run(story())


def test_a_key_can_be_replaced(tmp_path: Path) -> None:
    """The old key is needed as long as anything sealed with it is left, and no longer."""
    new = SealKeys.generate()

    async def story() -> None:
        async with opened(tmp_path) as log:
            await log.publish(Topic.EVENTS, batch("old", 2), 1)
        async with opened(tmp_path, key=f"{new},{KEY}") as log:
            await log.publish(Topic.EVENTS, batch("new", 2), 1)
            assert len((await read_all(tmp_path, key=f"{new},{KEY}"))[0]) == 4
            assert await log.delete_below(Topic.EVENTS, 2) == 2
        async with opened(tmp_path, key=new):
            assert [record.key for record in (await read_all(tmp_path, key=new))[0]] == [b"new"] * 2

    asyncio.run(story())


def test_a_full_log_says_so_and_takes_more_after_a_trim(tmp_path: Path) -> None:
    """The bound holds, nothing of a refused batch is kept, and room that retention made is used again."""

    async def story() -> None:
        async with opened(tmp_path, bytes_max=2**20) as log:
            big = [Record(b"k", b"v" * 100_000)]
            stored = await publish_until_full(log, big, 20)
            assert 5 <= stored <= 10
            assert not log.health().ok
            assert "the log is full" in log.health().reason
            assert await log.trim(Topic.EVENTS, stored // 2) == stored // 2
            assert log.health().ok
            await log.publish(Topic.EVENTS, big, stored)
            offsets = [record.offset for record in (await read_all(tmp_path))[0]]
            assert offsets == list(range(stored // 2, stored + 1))
        assert (tmp_path / "log.db").stat().st_size <= 2**20

    asyncio.run(story())


def test_a_trim_leaves_no_byte_behind(tmp_path: Path) -> None:
    """Deleted chunks are overwritten in the database and gone from the WAL, and offsets are not used again."""

    async def story() -> None:
        async with opened(tmp_path) as log:
            await log.publish(Topic.FORWARD, batch("k", 50), 1_000)
            with contextlib.closing(sqlite3.connect(f"file:{tmp_path}/log.db?mode=ro", uri=True)) as database:
                (sealed,) = database.execute("SELECT sealed FROM chunk").fetchone()
            middle = sealed[100:200]
            assert on_disk(tmp_path, middle)
            assert await log.trim(Topic.FORWARD, 1_000) == 0
            assert await log.trim(Topic.FORWARD, 1_001) == 50
            assert not on_disk(tmp_path, middle)
        async with opened(tmp_path) as log:
            await log.publish(Topic.FORWARD, batch("k", 1), 2_000)
        assert [record.offset for record in (await read_all(tmp_path, Topic.FORWARD))[0]] == [50]

    asyncio.run(story())


def test_retention_runs_at_the_start_and_each_minute(tmp_path: Path) -> None:
    """Records older than their topic's retention go by themselves; topics without one keep everything."""

    async def story() -> None:
        clock = FakeClock(now_ms=10 * MINUTE_MS)
        kept_ms = {Topic.FORWARD: 5 * MINUTE_MS}
        async with opened(tmp_path, clock=clock) as log:
            for topic in (Topic.EVENTS, Topic.FORWARD):
                await log.publish(topic, batch("old", 2), 4 * MINUTE_MS)
                await log.publish(topic, batch("new", 2), 9 * MINUTE_MS)
        async with opened(tmp_path, clock=clock, retention_ms=kept_ms) as log:
            await log.trim(Topic.SKAN, 0)  # carried out behind the retention of the start
            assert {record.key for record in (await read_all(tmp_path, Topic.FORWARD))[0]} == {b"new"}
            clock.advance(5 * MINUTE_MS)
            await log.publish(Topic.SKAN, batch("k", 1), 1)  # the thread looks at its clock after each commit
            await log.trim(Topic.SKAN, 0)
            await log.trim(Topic.SKAN, 0)
            assert not (await read_all(tmp_path, Topic.FORWARD))[0]
            assert len((await read_all(tmp_path, Topic.EVENTS))[0]) == 4

    asyncio.run(story())


PUBLISH_UNTIL_KILLED = """
import asyncio, os, sys
from pathlib import Path
from ingest.transport.contract import Record, Topic
from ingest.transport.local_log import LocalLog
from ingest.transport.sealed import SealKeys
from tests.ingest.transport.log_tools import KEY, ROOT, batch, opened, read_all

async def caller(log, name):
    for number in range(1_000_000):
        records = [Record(name.encode(), b"%d" % (3 * number + position)) for position in range(3)]
        await log.publish(Topic.EVENTS, records, number)
        os.write(1, f"{name} {3 * number + 2}\\n".encode())

async def main(folder, run):
    log = LocalLog(Path(folder), SealKeys.parse(os.environ["KEY"]), bytes_max=2**28)
    await log.start()
    assert log.health() == (True, "", 0, 0), log.health()
    await asyncio.gather(*[caller(log, f"{run}.{number}") for number in range(8)])

asyncio.run(main(*sys.argv[1:]))
"""


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Killed again and again in full work, the log has every acknowledged record, once, in order, without gaps."""
    acknowledged: dict[bytes, int] = {}
    for run in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", PUBLISH_UNTIL_KILLED, str(tmp_path / "log"), str(run)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "KEY": KEY, "PYTHONPATH": str(ROOT)},
        )
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(150 + 400 * run)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
        process.stdout.close()
        assert process.wait() == -signal.SIGKILL
        for line in lines:
            name, number = line.split()
            acknowledged[name] = int(number)

    received = asyncio.run(read_all(tmp_path / "log"))[0]
    assert [record.offset for record in received] == list(range(len(received)))
    values: dict[bytes, list[int]] = {}
    for record in received:
        values.setdefault(record.key, []).append(int(record.value))
    assert len(acknowledged) >= 4
    for name, last in acknowledged.items():
        assert values[name] == list(range(len(values[name])))
        assert len(values[name]) > last


def test_closing_leaves_one_tidy_database(tmp_path: Path) -> None:
    """After a close no WAL is left, and a copy of the database alone, with its mark, holds everything."""

    async def story() -> None:
        async with opened(tmp_path / "log") as log:
            await log.publish(Topic.EVENTS, batch("k", 5), 1)
        assert not (tmp_path / "log" / "log.db-wal").exists()
        (tmp_path / "copy").mkdir()
        for name in ("log.db", "high-water"):
            shutil.copy(tmp_path / "log" / name, tmp_path / "copy" / name)
        async with opened(tmp_path / "copy") as log:
            assert log.damage == []
        assert len((await read_all(tmp_path / "copy"))[0]) == 5

    asyncio.run(story())
