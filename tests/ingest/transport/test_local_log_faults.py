"""Broken disks and damaged files: nothing acknowledged is lost without a word, and the log goes on by itself."""

import asyncio
import contextlib
import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ingest.transport.contract import Delivered, Record, Stored, Topic, Unavailable
from ingest.transport.local_log import LocalLog
from ingest.transport.local_source import LocalLogSource
from ingest.transport.log_format import Damage, Disk
from ingest.transport.sealed import SealKeys

ROOT = Path(__file__).parents[3]
KEYS = SealKeys.parse(SealKeys.generate())


@asynccontextmanager
async def opened(folder: Path, **options: Any) -> AsyncIterator[LocalLog]:
    """Start a log over `folder` and close it at the end."""
    log = LocalLog(folder, KEYS, **{"bytes_max": 64 * 2**20, **options})
    await log.start()
    try:
        yield log
    finally:
        await log.close()


async def everything(folder: Path, keys: SealKeys = KEYS) -> tuple[list[Delivered], list[Damage]]:
    """Read all events from the oldest on, and what had to be skipped."""
    source = LocalLogSource(folder, keys, Topic.EVENTS, None)
    await source.start()
    records: list[Delivered] = []
    while some := await source.poll(1000, 0):
        records.extend(some)
    await source.close()
    return records, list(source.damage)


def offsets(records: list[Delivered]) -> list[int]:
    """Reduce to the offsets."""
    return [record.offset for record in records]


def pair(number: int) -> list[Record]:
    """Make two records that tell `number`."""
    return [Record(b"k", b"%d-%d" % (number, position)) for position in (0, 1)]


async def published(folder: Path, publishes: int, size: int = 2) -> None:
    """Fill a log with that many chunks of `size` records each, and close it."""
    async with opened(folder) as log:
        for number in range(publishes):
            await log.publish(Topic.EVENTS, pair(number) * (size // 2), number)


async def crashed_copy(folder: Path, publishes: int, copy: Path) -> None:
    """Fill a log and copy its files as they are after the last acknowledgement, as a power cut would leave them."""
    async with opened(folder) as log:
        for number in range(publishes):
            await log.publish(Topic.EVENTS, pair(number), number)
        await asyncio.to_thread(shutil.copytree, folder, copy)


def sql(folder: Path, statement: str, *parameters: Any) -> None:
    """Change a closed database behind the log's back."""
    with contextlib.closing(sqlite3.connect(folder / "log.db", isolation_level=None)) as database:
        database.execute(statement, parameters)


class FaultyConnection(sqlite3.Connection):
    """Fails the statements that begin with `fails_on`, as SQLite does when the disk refuses."""

    fails_on: ClassVar[str] = "nothing"
    message: ClassVar[str] = ""

    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:
        """Execute or fail."""
        if statement.startswith(self.fails_on):
            raise sqlite3.OperationalError(self.message)
        return super().execute(statement, *parameters)


@pytest.mark.parametrize("statement", ["BEGIN", "COMMIT"])
@pytest.mark.parametrize(
    "message", ["database or disk is full", "disk I/O error", "attempt to write a readonly database"]
)
def test_a_failing_disk_refuses_and_heals_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str, message: str
) -> None:
    """While the disk fails every caller hears `Unavailable` and health says why; afterwards all goes on in order."""

    async def story() -> None:
        async with opened(tmp_path, disk=Disk(connection=FaultyConnection)) as log:
            await log.publish(Topic.EVENTS, pair(0), 1)
            monkeypatch.setattr(FaultyConnection, "message", message)
            monkeypatch.setattr(FaultyConnection, "fails_on", statement)
            results = await asyncio.gather(
                *[log.publish(Topic.EVENTS, pair(9), 1) for _ in range(10)], return_exceptions=True
            )
            assert all(isinstance(result, Unavailable) for result in results)
            assert not log.health().ok
            assert message in log.health().reason
            monkeypatch.setattr(FaultyConnection, "fails_on", "nothing")
            assert await log.publish(Topic.EVENTS, pair(1), 1) is Stored.SPOOLED
            assert log.health() == (True, "", 0, 0)
        records, damage = await everything(tmp_path)
        assert [record.value for record in records] == [b"0-0", b"0-1", b"1-0", b"1-1"]
        assert offsets(records) == [0, 1, 2, 3]
        assert not damage

    asyncio.run(story())


def test_a_disk_that_fails_at_the_start_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that cannot be opened yet starts, refuses, and stores as soon as the disk works."""

    async def story() -> None:
        monkeypatch.setattr(FaultyConnection, "message", "disk I/O error")
        monkeypatch.setattr(FaultyConnection, "fails_on", "PRAGMA journal_mode")
        async with opened(tmp_path, disk=Disk(connection=FaultyConnection)) as log:
            assert not log.health().ok
            with pytest.raises(Unavailable, match="disk I/O error"):
                await log.publish(Topic.EVENTS, pair(0), 1)
            monkeypatch.setattr(FaultyConnection, "fails_on", "nothing")
            await log.publish(Topic.EVENTS, pair(1), 1)
            assert log.health().ok
        assert offsets((await everything(tmp_path))[0]) == [0, 1]

    asyncio.run(story())


def test_a_failed_sync_of_the_mark_acknowledges_nothing(tmp_path: Path) -> None:
    """What was committed but not marked is refused; it may come out later, and no offset is used twice."""
    fails = False

    def sync(file: int) -> None:
        if fails:
            raise OSError(errno.EIO, "Input/output error")
        os.fsync(file)

    async def story() -> None:
        nonlocal fails
        async with opened(tmp_path, disk=Disk(sync=sync)) as log:
            fails = True
            with pytest.raises(Unavailable, match="Input/output error"):
                await log.publish(Topic.EVENTS, pair(0), 1)
            fails = False
            await log.publish(Topic.EVENTS, pair(1), 1)
            assert log.damage == []
        records, _ = await everything(tmp_path)
        assert offsets(records) == list(range(len(records)))
        assert [record.value for record in records][-2:] == [b"1-0", b"1-1"]

    asyncio.run(story())


PUBLISH_UNDER_A_LIMIT = """
import asyncio, os, resource, sys
from pathlib import Path
from ingest.transport.contract import Record, Topic, Unavailable
from ingest.transport.local_log import LocalLog
from ingest.transport.sealed import SealKeys

async def main(folder):
    log = LocalLog(Path(folder), SealKeys.parse(os.environ["KEY"]), bytes_max=2**28)
    await log.start()
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    stored = []
    refused = 0
    for number in range(60):
        if number == 40:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        try:
            await log.publish(Topic.EVENTS, [Record(b"%d" % number, os.urandom(50_000))], 1)
        except Unavailable:
            refused += 1
            assert not log.health().ok
        else:
            stored.append(number)
    assert log.health().ok
    await log.close()
    print(refused, *stored)

asyncio.run(main(sys.argv[1]))
"""


def test_a_disk_that_is_really_full_loses_nothing(tmp_path: Path) -> None:
    """With a real limit on file sizes publishes fail honestly, and go on in the same process once it is lifted."""
    key = SealKeys.generate()
    result = subprocess.run(
        [sys.executable, "-c", PUBLISH_UNDER_A_LIMIT, str(tmp_path)],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
        env={**os.environ, "KEY": key, "PYTHONPATH": str(ROOT)},
    )
    assert result.returncode == 0, result.stderr
    refused, *stored = map(int, result.stdout.splitlines()[-1].split())
    assert refused > 5
    assert stored[-20:] == list(range(40, 60))
    records, damage = asyncio.run(everything(tmp_path, SealKeys.parse(key)))
    kept = [int(record.key) for record in records]
    assert kept == sorted(kept)
    assert set(stored) <= set(kept)
    assert offsets(records) == list(range(len(records)))
    assert not damage


@pytest.mark.parametrize("column", ["sealed", "timestamp_max", "record_count"])
def test_a_chunk_that_was_changed_is_skipped_and_reported(tmp_path: Path, column: str) -> None:
    """A flipped byte, or an edited figure that is bound to the seal, costs its own chunk and no other."""

    async def story() -> None:
        await published(tmp_path, 4)
        if column == "sealed":
            with contextlib.closing(sqlite3.connect(tmp_path / "log.db")) as database:
                (box,) = database.execute("SELECT sealed FROM chunk WHERE first_offset = 2").fetchone()
            value: Any = box[:40] + bytes([box[40] ^ 1]) + box[41:]
            sql(tmp_path, "UPDATE chunk SET sealed = ? WHERE first_offset = 2", value)
        elif column == "timestamp_max":
            sql(tmp_path, "UPDATE chunk SET timestamp_max = 999 WHERE first_offset = 2")
        else:
            sql(tmp_path, "UPDATE chunk SET record_count = 1 WHERE first_offset = 2")
        records, damage = await everything(tmp_path)
        assert offsets(records) == [0, 1, 4, 5, 6, 7]
        assert [(skipped.topic, skipped.first_offset) for skipped in damage] == [("events", 2)]

    asyncio.run(story())


def test_swapped_chunks_do_not_open(tmp_path: Path) -> None:
    """A chunk cannot stand in for another one: both places are reported, what lies around is served."""

    async def story() -> None:
        await published(tmp_path, 4)
        for old, new in ((2, 100), (4, 2), (100, 4)):
            sql(tmp_path, "UPDATE chunk SET first_offset = ? WHERE first_offset = ?", new, old)
        records, damage = await everything(tmp_path)
        assert offsets(records) == [0, 1, 6, 7]
        assert [skipped[:3] for skipped in damage] == [("events", 2, 2), ("events", 4, 2)]

    asyncio.run(story())


def delete_wal(folder: Path) -> None:
    """Take the WAL away."""
    (folder / "log.db-wal").unlink()
    (folder / "log.db-shm").unlink()


def cut_wal(folder: Path) -> None:
    """Cut the last bytes off the WAL, which makes SQLite ignore its last commit."""
    os.truncate(folder / "log.db-wal", (folder / "log.db-wal").stat().st_size - 100)
    (folder / "log.db-shm").unlink()


def spoil_wal(folder: Path) -> None:
    """Change a byte late in the WAL, where a sound frame would hold a chunk."""
    wal = bytearray((folder / "log.db-wal").read_bytes())
    wal[-20_000] ^= 1
    (folder / "log.db-wal").write_bytes(wal)
    (folder / "log.db-shm").unlink()


@pytest.mark.parametrize("spoil", [delete_wal, cut_wal, spoil_wal])
def test_a_lost_tail_is_noticed_and_its_offsets_are_not_used_again(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    """A log that ends below its high-water mark names the lost range, stays usable and counts on above the mark."""

    async def story() -> None:
        copy = tmp_path / "copy"
        await crashed_copy(tmp_path / "log", 10, copy)
        spoil(copy)
        async with opened(copy) as log:
            (lost,) = log.damage
            assert (lost.topic, lost.first_offset + lost.record_count) == ("events", 20)
            assert log.health().ok
            assert f"{lost.first_offset}..19" in log.health().reason
            await log.publish(Topic.EVENTS, pair(99), 1)
        records, _ = await everything(copy)
        assert offsets(records) == [*range(lost.first_offset), 20, 21]
        async with opened(copy) as log:
            assert log.damage == [lost]
            assert log.health() == (True, "", 0, 0)

    asyncio.run(story())


def test_an_untouched_crash_loses_nothing(tmp_path: Path) -> None:
    """The files as a power cut leaves them hold every acknowledged record, with or without the WAL's index."""

    async def story() -> None:
        copy = tmp_path / "copy"
        await crashed_copy(tmp_path / "log", 10, copy)
        (copy / "log.db-shm").unlink()
        async with opened(copy) as log:
            assert log.health() == (True, "", 0, 0)
        assert offsets((await everything(copy))[0]) == list(range(20))

    asyncio.run(story())


def test_a_missing_mark_is_told(tmp_path: Path) -> None:
    """Without its mark a log is served, with a word that a lost end could not have been noticed."""

    async def story() -> None:
        await published(tmp_path, 2)
        await asyncio.to_thread((tmp_path / "high-water").unlink)
        async with opened(tmp_path) as log:
            assert "high-water mark was missing" in log.health().reason
            await log.publish(Topic.EVENTS, pair(9), 1)
        assert offsets((await everything(tmp_path))[0]) == list(range(6))

    asyncio.run(story())


def test_a_cut_database_is_put_aside_and_the_rest_saved(tmp_path: Path) -> None:
    """Of a database that lost its end the readable chunks live on, the lost ranges are named, the file is kept."""

    async def story() -> None:
        await published(tmp_path, 30, size=2_000)
        os.truncate(tmp_path / "log.db", 16_384 * 20)
        async with opened(tmp_path) as log:
            assert log.damage
            lost = sum(damage.record_count for damage in log.damage)
            await log.publish(Topic.EVENTS, pair(99), 1)
        records, skipped = await everything(tmp_path)
        assert offsets(records)[-2:] == [60_000, 60_001]
        assert not skipped
        assert len(records) > 2_000
        assert len(records) + lost == 60_002

    asyncio.run(story())
    assert len(list(tmp_path.glob("log.db.damaged-*"))) == 1
    assert not list(tmp_path.glob("log.db.salvage*"))


def test_a_file_that_is_no_database_is_put_aside(tmp_path: Path) -> None:
    """Rubbish in the database's place does not stop the log; all that it held is reported as lost."""

    async def story() -> None:
        await published(tmp_path, 3)
        await asyncio.to_thread((tmp_path / "log.db").write_bytes, b"rubbish" * 10_000)
        async with opened(tmp_path) as log:
            assert [damage[:3] for damage in log.damage] == [("events", 0, 6)]
            await log.publish(Topic.EVENTS, pair(9), 1)
        assert offsets((await everything(tmp_path))[0]) == [6, 7]

    asyncio.run(story())


def test_a_page_that_goes_bad_in_use_does_not_stop_the_log(tmp_path: Path) -> None:
    """When SQLite finds its file damaged by a write, that write fails and the next one goes to a saved copy."""

    async def story() -> None:
        await published(tmp_path, 30, size=2_000)
        async with opened(tmp_path) as log:
            with (tmp_path / "log.db").open("r+b") as file:  # the pages of the tables and indexes behind the first
                file.seek(16_384)
                file.write(b"\xff" * 16_384 * 6)
            results = [
                (await asyncio.gather(log.publish(Topic.EVENTS, pair(n), 1), return_exceptions=True))[0]
                for n in range(2)
            ]
            assert isinstance(results[0], Unavailable)
            assert results[1] is Stored.SPOOLED
            assert log.damage
        records, _ = await everything(tmp_path)
        assert offsets(records)[-2:] == [60_000, 60_001]

    asyncio.run(story())
