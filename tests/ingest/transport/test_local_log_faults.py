"""Disks that refuse: nothing is acknowledged that is not stored, and the log goes on by itself."""

import asyncio
import errno
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ingest.transport.contract import Stored, Topic, Unavailable
from ingest.transport.log_format import Disk
from ingest.transport.sealed import SealKeys
from tests.ingest.transport.log_tools import ROOT, batch, offsets, opened, read_all


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
            await log.publish(Topic.EVENTS, batch("k0", 2), 1)
            monkeypatch.setattr(FaultyConnection, "message", message)
            monkeypatch.setattr(FaultyConnection, "fails_on", statement)
            results = await asyncio.gather(
                *[log.publish(Topic.EVENTS, batch("k9", 2), 1) for _ in range(10)], return_exceptions=True
            )
            assert all(isinstance(result, Unavailable) for result in results)
            assert not log.health().ok
            assert message in log.health().reason
            monkeypatch.setattr(FaultyConnection, "fails_on", "nothing")
            assert await log.publish(Topic.EVENTS, batch("k1", 2), 1) is Stored.SPOOLED
            assert log.health() == (True, "", 0, 0)
        records, damage = await read_all(tmp_path)
        assert [record.value for record in records] == [b"k0-0", b"k0-1", b"k1-0", b"k1-1"]
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
                await log.publish(Topic.EVENTS, batch("k0", 2), 1)
            monkeypatch.setattr(FaultyConnection, "fails_on", "nothing")
            await log.publish(Topic.EVENTS, batch("k1", 2), 1)
            assert log.health().ok
        assert offsets((await read_all(tmp_path))[0]) == [0, 1]

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
                await log.publish(Topic.EVENTS, batch("k0", 2), 1)
            fails = False
            await log.publish(Topic.EVENTS, batch("k1", 2), 1)
            assert log.damage == []
        records, _ = await read_all(tmp_path)
        assert offsets(records) == list(range(len(records)))
        assert [record.value for record in records][-2:] == [b"k1-0", b"k1-1"]

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
    records, damage = asyncio.run(read_all(tmp_path, key=key))
    kept = [int(record.key) for record in records]
    assert kept == sorted(kept)
    assert set(stored) <= set(kept)
    assert offsets(records) == list(range(len(records)))
    assert not damage
