"""`ingest dead-letters`: what operators see of records that were set aside, and what can be tried again."""

import asyncio
import json
from pathlib import Path

from ingest.clock import FakeClock
from ingest.consume.dead_letter import DeadLetters
from ingest.consume.step import Poison
from ingest.db.migrate import migrate
from ingest.transport.contract import Delivered, Topic
from ingest.transport.local_log import LocalLog
from ingest.transport.sealed import SealKeys
from tests.integration.edge import run_command

KEY = SealKeys.generate()
ID = b"5E7A4B1C-advertising"


def set_aside(folder: Path, consumer: str, topic: Topic, *, with_content: bool) -> None:
    """Leave a dead letter as a consumer does that has no Kafka."""

    async def put() -> None:
        log = LocalLog(folder, SealKeys.parse(KEY), bytes_max=2**26)
        await log.start()
        letters = DeadLetters(log, SealKeys.parse(KEY), consumer, FakeClock(), with_content=with_content)
        await letters.put([Poison(Delivered(topic, 0, 7, 5, b"k", b'{"id": "%s"}' % ID, ()), "no_good")])
        await log.close()

    asyncio.run(put())


def test_letters_without_content_are_listed_and_passed_over(database: str, tmp_path: Path) -> None:
    """Those of all consumers are shown, with whether they can be had back; a replay tries those that can."""
    migrate(database)
    set_aside(tmp_path / "dead-letters", "persist", Topic.EVENTS, with_content=True)
    set_aside(tmp_path / "forward-parked", "forward", Topic.FORWARD, with_content=False)
    env = {"INGEST_DATA_DIR": str(tmp_path), "INGEST_SPOOL_KEY": KEY, "INGEST_POSTGRES_DSN": database}
    listed = run_command(["dead-letters", "list", "--json"], env)
    table = run_command(["dead-letters", "list"], env)
    replayed = run_command(["dead-letters", "replay"], env)
    letters = json.loads(listed.stdout)

    assert [(each["consumer"], each["topic"], each["content_kept"]) for each in letters] == [
        ("persist", "events", True),
        ("forward", "forward", False),
    ]
    assert all("sealed" not in each for each in letters)
    assert (table.returncode, "not kept" in table.stdout) == (0, True)
    assert (replayed.returncode, replayed.stdout) == (0, "0 records are rows now, 1 still cannot be used\n")
    assert ID.decode() not in listed.stdout + table.stdout + replayed.stdout
