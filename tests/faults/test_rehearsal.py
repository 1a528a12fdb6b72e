"""The short form of the rehearsal: the same scenes, faster and with fewer kills; `make faults` plays them in full."""

import asyncio
import logging
from pathlib import Path

import pytest

from tests.faults.rehearsal import rehearse, staged, table
from tests.faults.stage import Pace

SHORT = Pace(before_s=1, hold_s=2.5, pause_s=4, after_s=1, requests_per_s=40, events=5, kills=2)
SCENES = (
    "one broker killed",
    "all brokers paused",
    "slow network",
    "topic deleted",
    "edge stopped, Kafka away",
    "edge killed",
    "edge killed, Kafka away",
    "byte flipped",
)


@pytest.mark.timeout(420)
@pytest.mark.usefixtures("kafka_distribution")
def test_nothing_acknowledged_is_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is broken under load: every acknowledged event comes to Kafka, and the counts add up."""
    caplog.set_level(logging.CRITICAL, "aiokafka")

    async def play() -> None:
        async with staged(tmp_path, SHORT) as stage:
            rows = [await rehearse(stage, name) for name in SCENES]
        assert all(row.is_good for row in rows), "\n" + table(rows)
        assert all(row.acknowledged > 0 for row in rows), "\n" + table(rows)

    asyncio.run(play())
