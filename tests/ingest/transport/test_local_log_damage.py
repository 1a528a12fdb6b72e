"""Files that were damaged: what is lost is named, the rest is served, no offset is used twice."""

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingest.transport.contract import Stored, Topic, Unavailable
from tests.ingest.transport.log_tools import batch, fill, fill_and_crash, offsets, opened, read_all


def sql(folder: Path, statement: str, *parameters: Any) -> None:
    """Change a closed database behind the log's back."""
    with contextlib.closing(sqlite3.connect(folder / "log.db", isolation_level=None)) as database:
        database.execute(statement, parameters)


FLIP = "sealed = CAST(substr(sealed, 1, 40) || x'00ff00' || substr(sealed, 44) AS BLOB)"


@pytest.mark.parametrize(
    "change",
    [
        FLIP,
        "sealed = x''",
        "timestamp_max = 999",
        "timestamp_min = -9000",
        "record_count = 1",
        "record_count = 0",
        "record_count = -1",
        "record_count = 1 << 40",
    ],
)
@pytest.mark.parametrize("first_offset", [2, 6])
def test_a_chunk_that_was_changed_is_skipped_and_reported(tmp_path: Path, change: str, first_offset: int) -> None:
    """Changed bytes, or an edited figure that is bound to the seal, cost their own chunk and no other."""

    async def story() -> None:
        await fill(tmp_path, 4)
        statement = f"UPDATE chunk SET {change} WHERE first_offset = ?"  # noqa: S608 - constants of this test
        sql(tmp_path, statement, first_offset)
        records, damage = await read_all(tmp_path)
        assert offsets(records) == [offset for offset in range(8) if offset not in {first_offset, first_offset + 1}]
        assert [skipped[:3] for skipped in damage] == [("events", first_offset, 2)]

    asyncio.run(story())


def test_swapped_chunks_do_not_open(tmp_path: Path) -> None:
    """A chunk cannot stand in for another one: both places are reported, what lies around is served."""

    async def story() -> None:
        await fill(tmp_path, 4)
        for old, new in ((2, 100), (4, 2), (100, 4)):
            sql(tmp_path, "UPDATE chunk SET first_offset = ? WHERE first_offset = ?", new, old)
        records, damage = await read_all(tmp_path)
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
        await fill_and_crash(tmp_path / "log", 10, copy)
        spoil(copy)
        async with opened(copy) as log:
            (lost,) = log.damage
            assert (lost.topic, lost.first_offset + lost.record_count) == ("events", 20)
            assert log.health().ok
            assert f"{lost.first_offset}..19" in log.health().reason
            await log.publish(Topic.EVENTS, batch("k99", 2), 1)
        records, _ = await read_all(copy)
        assert offsets(records) == [*range(lost.first_offset), 20, 21]
        async with opened(copy) as log:
            assert log.damage == [lost]
            assert log.health() == (True, "", 0, 0)

    asyncio.run(story())


def test_an_untouched_crash_loses_nothing(tmp_path: Path) -> None:
    """The files as a power cut leaves them hold every acknowledged record, with or without the WAL's index."""

    async def story() -> None:
        copy = tmp_path / "copy"
        await fill_and_crash(tmp_path / "log", 10, copy)
        (copy / "log.db-shm").unlink()
        async with opened(copy) as log:
            assert log.health() == (True, "", 0, 0)
        assert offsets((await read_all(copy))[0]) == list(range(20))

    asyncio.run(story())


def test_a_missing_mark_is_told(tmp_path: Path) -> None:
    """Without its mark a log is served, with a word that a lost end could not have been noticed."""

    async def story() -> None:
        await fill(tmp_path, 2)
        await asyncio.to_thread((tmp_path / "high-water").unlink)
        async with opened(tmp_path) as log:
            assert "high-water mark was missing" in log.health().reason
            await log.publish(Topic.EVENTS, batch("k9", 2), 1)
        assert offsets((await read_all(tmp_path))[0]) == list(range(6))

    asyncio.run(story())


def test_a_cut_database_is_put_aside_and_the_rest_saved(tmp_path: Path) -> None:
    """Of a database that lost its end the readable chunks live on, the lost ranges are named, the file is kept."""

    async def story() -> None:
        await fill(tmp_path, 30, size=2_000)
        os.truncate(tmp_path / "log.db", 16_384 * 20)
        async with opened(tmp_path) as log:
            assert log.damage
            lost = sum(damage.record_count for damage in log.damage)
            await log.publish(Topic.EVENTS, batch("k99", 2), 1)
        records, skipped = await read_all(tmp_path)
        assert offsets(records)[-2:] == [60_000, 60_001]
        assert not skipped
        assert len(records) > 2_000
        assert len(records) + lost == 60_002

    asyncio.run(story())
    assert len([path for path in tmp_path.glob("log.db.damaged-*") if not path.name.endswith("-wal")]) == 1
    assert not list(tmp_path.glob("log.db.salvage*"))


def test_a_file_that_is_no_database_is_put_aside(tmp_path: Path) -> None:
    """Rubbish in the database's place does not stop the log; all that it held is reported as lost."""

    async def story() -> None:
        await fill(tmp_path, 3)
        await asyncio.to_thread((tmp_path / "log.db").write_bytes, b"rubbish" * 10_000)
        async with opened(tmp_path) as log:
            assert [damage[:3] for damage in log.damage] == [("events", 0, 6)]
            await log.publish(Topic.EVENTS, batch("k9", 2), 1)
        assert offsets((await read_all(tmp_path))[0]) == [6, 7]

    asyncio.run(story())


def test_a_page_that_goes_bad_in_use_does_not_stop_the_log(tmp_path: Path) -> None:
    """When SQLite finds its file damaged by a write, that write fails and the next one goes to a saved copy."""

    async def story() -> None:
        await fill(tmp_path, 30, size=2_000)
        async with opened(tmp_path) as log:
            with (tmp_path / "log.db").open("r+b") as file:  # the pages of the tables and indexes behind the first
                file.seek(16_384)
                file.write(b"\xff" * 16_384 * 6)
            results = [
                (await asyncio.gather(log.publish(Topic.EVENTS, batch("k", 2), 1), return_exceptions=True))[0]
                for n in range(2)
            ]
            assert isinstance(results[0], Unavailable)
            assert results[1] is Stored.SPOOLED
            assert log.damage
        records, _ = await read_all(tmp_path)
        assert offsets(records)[-2:] == [60_000, 60_001]

    asyncio.run(story())
