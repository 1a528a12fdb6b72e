"""The short form of the rehearsal: the same scenes, faster and with fewer kills; `make faults` plays them in full."""

import asyncio
import logging
from collections.abc import Iterator

import pytest

from tests.faults.consumer_stage import DatabaseStage, with_database
from tests.faults.forward_rehearsal import forward_table, rehearse_forwarding
from tests.faults.rehearsal import rehearse, staged, table
from tests.faults.row_rehearsal import rehearse_rows, row_table
from tests.faults.stage import Pace, Stage

SHORT = Pace(before_s=1, hold_s=2.5, pause_s=4, lock_s=2, after_s=1, requests_per_s=40, events=5, kills=2)
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
KEPT_SCENES = ("database killed", "consumer killed", "consumers rebalanced")
FORWARD_SCENES = ("platform failing", "answers lost", "token dead", "forwarder killed", "forwarding, database killed")


@pytest.fixture(scope="module")
def stage(
    kafka_distribution: None,  # noqa: ARG001 - needed first
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stage]:
    """Provide the brokers, which either test leaves whole."""
    with staged(tmp_path_factory.mktemp("faults"), SHORT) as stage:
        yield stage


@pytest.fixture(scope="module")
def database(stage: Stage, postgres_programs: None) -> Iterator[DatabaseStage]:  # noqa: ARG001 - needed first
    """Provide a database beside the brokers."""
    with with_database(stage) as database:
        yield database


@pytest.mark.timeout(420)
def test_nothing_acknowledged_is_lost(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is broken under load: every acknowledged event comes to Kafka, and the counts add up."""
    caplog.set_level(logging.CRITICAL, "aiokafka")

    async def play() -> None:
        async with stage.watch:
            rows = [await rehearse(stage, name) for name in SCENES]
        assert all(row.is_good for row in rows), "\n" + table(rows)
        assert all(row.acknowledged > 0 for row in rows), "\n" + table(rows)

    asyncio.run(play())


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", KEPT_SCENES)
def test_every_acknowledged_event_is_a_row_once(
    database: DatabaseStage, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is broken between Kafka and the rows: nothing acknowledged is missing, nothing is doubled."""
    caplog.set_level(logging.CRITICAL, "aiokafka")
    kept = asyncio.run(rehearse_rows(database, name))
    assert kept.is_good, "\n" + row_table([kept])
    assert kept.acknowledged > 0, "\n" + row_table([kept])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", FORWARD_SCENES)
def test_every_acknowledged_conversion_is_sent_once(
    database: DatabaseStage, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is broken on the way to the platforms: each takes all, and again only what it was not known to have."""
    caplog.set_level(logging.CRITICAL, "aiokafka")
    forwarded = asyncio.run(rehearse_forwarding(database, name))
    assert forwarded.is_good, "\n" + forward_table([forwarded])
    assert forwarded.acknowledged > 0, "\n" + forward_table([forwarded])
