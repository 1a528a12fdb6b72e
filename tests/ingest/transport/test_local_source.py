import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

from ingest.event import Record
from ingest.transport.contract import ConfigurationError, Topic
from ingest.transport.local_log import LocalLog
from ingest.transport.local_source import LocalLogSource
from ingest.transport.sealed import SealKeys

ROOT = Path(__file__).parents[3]
KEY = SealKeys.generate()
WAIT_MS = 10_000


def log_over(folder: Path) -> LocalLog:
    """Make a log."""
    return LocalLog(folder, SealKeys.parse(KEY), bytes_max=64 * 2**20)


def source_over(folder: Path, group: str | None = None, *, from_newest: bool = False) -> LocalLogSource:
    """Make a source of events."""
    return LocalLogSource(folder, SealKeys.parse(KEY), Topic.EVENTS, group, from_newest=from_newest)


def one(name: str) -> list[Record]:
    """Make one record."""
    return [Record(name.encode(), b"{}")]


def test_a_source_waits_for_a_log_that_is_not_there_yet(tmp_path: Path) -> None:
    """A reader may start before the first writer, and sees its records."""

    async def story() -> None:
        source = source_over(tmp_path / "log")
        await source.start()
        assert not await source.poll(1, 0)
        log = log_over(tmp_path / "log")
        await log.start()
        await log.publish(Topic.EVENTS, one("first"), 1)
        assert [record.key for record in await source.poll(1, WAIT_MS)] == [b"first"]
        await source.close()
        await log.close()

    asyncio.run(story())


@pytest.mark.parametrize("from_newest", [False, True])
def test_without_a_group_nothing_is_remembered(tmp_path: Path, *, from_newest: bool) -> None:
    """Such a source begins at the oldest record, or behind the newest, and a commit leaves no trace."""

    async def story() -> None:
        log = log_over(tmp_path)
        await log.start()
        await log.publish(Topic.EVENTS, one("old"), 1)
        for _ in range(2):
            source = source_over(tmp_path, from_newest=from_newest)
            await source.start()
            assert [record.key for record in await source.poll(1, 0)] == ([] if from_newest else [b"old"])
            await source.commit()
            await source.close()
        source = source_over(tmp_path, from_newest=True)
        await source.start()
        await log.publish(Topic.EVENTS, one("new"), 1)
        assert [record.key for record in await source.poll(5, WAIT_MS)] == [b"new"]
        await source.close()
        await log.close()
        assert not await asyncio.to_thread((tmp_path / "cursors").exists)

    asyncio.run(story())


def test_a_group_has_one_consumer_at_a_time(tmp_path: Path) -> None:
    """A second consumer of the same group and topic is refused; another group is free."""

    async def story() -> None:
        first, second, other = source_over(tmp_path, "a"), source_over(tmp_path, "a"), source_over(tmp_path, "b")
        await first.start()
        with pytest.raises(ConfigurationError, match="consumer group a is in use"):
            await second.start()
        await other.start()
        for source in (first, second, other):
            await source.close()

    asyncio.run(story())


@pytest.mark.parametrize("group", ["", "../escape", "A", "with space", "x" * 64])
def test_a_group_name_cannot_leave_the_folder(tmp_path: Path, group: str) -> None:
    """A name that is no plain word is refused without being repeated."""

    async def story() -> None:
        source = source_over(tmp_path, group)
        with pytest.raises(ConfigurationError, match="named with a-z"):
            await source.start()
        await source.close()

    asyncio.run(story())


def test_an_unreadable_cursor_hands_out_again(tmp_path: Path) -> None:
    """A cursor file that lost its content means the oldest record, never a skipped one."""

    async def story() -> None:
        log = log_over(tmp_path)
        await log.start()
        await log.publish(Topic.EVENTS, one("k"), 1)
        for content in (None, b"", b"{}", b'{"next_offset":'):
            if content is not None:
                await asyncio.to_thread((tmp_path / "cursors" / "a.events").write_bytes, content)
            source = source_over(tmp_path, "a")
            await source.start()
            assert len(await source.poll(5, 0)) == 1
            await source.commit()
            await source.close()
        await log.close()

    asyncio.run(story())


def test_a_cancelled_poll_loses_nothing(tmp_path: Path) -> None:
    """A poll that is given up while it reads or waits leaves every record for the next one."""

    async def story() -> None:
        log = log_over(tmp_path)
        await log.start()
        await log.publish(Topic.EVENTS, [*one("a"), *one("b")], 1)
        source = source_over(tmp_path)
        await source.start()
        given_up = asyncio.create_task(source.poll(5, WAIT_MS))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        assert [record.key for record in await source.poll(5, WAIT_MS)] == [b"a", b"b"]
        await source.close()
        await log.close()

    asyncio.run(story())


def test_trimmed_records_are_passed_over(tmp_path: Path) -> None:
    """A consumer that fell behind the oldest record goes on with what is there."""

    async def story() -> None:
        log = log_over(tmp_path)
        await log.start()
        for number in range(4):
            await log.publish(Topic.EVENTS, one(str(number)), number)
        source = source_over(tmp_path, "a")
        await source.start()
        await source.poll(1, 0)
        assert await log.trim(Topic.EVENTS, 3) == 3
        assert [record.offset for record in await source.poll(5, 0)] == [3]
        assert source.records_skipped == 0
        await source.close()
        await log.close()

    asyncio.run(story())


def test_what_is_gone_is_no_lag(tmp_path: Path) -> None:
    """A consumer that begins at the beginning has to take what is there, and none where there is no log."""

    async def story() -> None:
        source = source_over(tmp_path)
        await source.start()
        lags = [await source.lag_records()]
        log = log_over(tmp_path)
        await log.start()
        for number in range(4):
            await log.publish(Topic.EVENTS, one(str(number)), number)
        lags.append(await source.lag_records())
        await log.trim(Topic.EVENTS, 3)
        lags.append(await source.lag_records())
        await log.trim(Topic.EVENTS, 4)
        lags.append(await source.lag_records())
        await source.close()
        await log.close()
        assert lags == [0, 4, 1, 0]

    asyncio.run(story())


def test_reading_changes_no_byte(tmp_path: Path) -> None:
    """A reader leaves database and WAL of a crashed writer as they are, also when it is the last to close them."""

    async def story() -> None:
        log = log_over(tmp_path / "log")
        await log.start()
        await log.publish(Topic.EVENTS, one("k"), 1)
        await asyncio.to_thread(shutil.copytree, tmp_path / "log", tmp_path / "copy")
        await log.close()
        files = [tmp_path / "copy" / name for name in ("log.db", "log.db-wal", "high-water")]
        before = [path.read_bytes() for path in files]
        source = source_over(tmp_path / "copy")
        await source.start()
        assert len(await source.poll(5, 0)) == 1
        await source.close()
        assert [path.read_bytes() for path in files] == before

    asyncio.run(story())


def test_a_consumer_follows_a_log_that_was_replaced(tmp_path: Path) -> None:
    """When a damaged database gives way to a new one, an open reader goes on in the new one."""

    async def story() -> None:
        log = log_over(tmp_path)
        await log.start()
        await log.publish(Topic.EVENTS, one("before"), 1)
        source = source_over(tmp_path)
        await source.start()
        assert len(await source.poll(5, 0)) == 1
        await log.close()
        for name in ("log.db", "log.db-wal", "log.db-shm"):
            await asyncio.to_thread((tmp_path / name).unlink, missing_ok=True)
        await asyncio.to_thread((tmp_path / "log.db").write_bytes, b"rubbish" * 1_000)
        log = log_over(tmp_path)
        await log.start()
        await log.publish(Topic.EVENTS, one("after"), 1)
        assert [(record.offset, record.key) for record in await source.poll(5, WAIT_MS)] == [(1, b"after")]
        await source.close()
        await log.close()

    asyncio.run(story())


FOLLOW = """
import asyncio, os, sys
from pathlib import Path
from ingest.transport.contract import Topic
from ingest.transport.local_source import LocalLogSource
from ingest.transport.sealed import SealKeys

async def main(folder):
    source = LocalLogSource(Path(folder), SealKeys.parse(os.environ["KEY"]), Topic.EVENTS, "follow")
    await source.start()
    seen = 0
    while seen < 200:
        for record in await source.poll(64, 20_000):
            assert record.offset == seen, (record.offset, seen)
            seen += 1
        os.write(1, b".")
    await source.commit()
    await source.close()

asyncio.run(main(sys.argv[1]))
"""


def test_another_process_reads_along(tmp_path: Path) -> None:
    """A reader in a process of its own gets every record in order while the writer goes on writing."""

    async def story() -> None:
        log = log_over(tmp_path)
        await log.start()
        await log.publish(Topic.EVENTS, one("k") * 20, 1)
        reader = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", FOLLOW, str(tmp_path)),
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "KEY": KEY, "PYTHONPATH": str(ROOT)},
        )
        assert reader.stdout is not None
        assert await reader.stdout.read(1) == b"."
        for number in range(9):
            await log.publish(Topic.EVENTS, one("k") * 20, number)
        await reader.communicate()
        assert reader.returncode == 0
        source = source_over(tmp_path, "follow")
        await source.start()
        assert not await source.poll(1, 0)
        await source.close()
        await log.close()

    asyncio.run(story())
