"""`ingest spool`: what operators do with what was spooled."""

import asyncio
import json
from pathlib import Path

import pytest

from devservices.kafka import KafkaCluster
from ingest.event import Record
from ingest.transport.contract import Topic
from ingest.transport.local_log import LocalLog
from ingest.transport.log_format import DATABASE
from ingest.transport.sealed import SealKeys
from tests.faults.scenes import flip_a_byte
from tests.integration.edge import read_topic, run_command

NOW_MS = 1_767_225_600_000
KEY = SealKeys.generate()
COUNT = 30


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Provide the settings of a machine with a spool of ten chunks that nobody holds."""

    async def fill() -> None:
        log = LocalLog(tmp_path / "spool" / "0", SealKeys.parse(KEY), bytes_max=2**26)
        await log.start()
        for first in range(0, COUNT, 3):
            records = [Record(b"k", json.dumps({"n": number}).encode()) for number in range(first, first + 3)]
            await log.publish(Topic.EVENTS, records, NOW_MS)
        await log.close()

    asyncio.run(fill())
    return {"INGEST_DATA_DIR": str(tmp_path), "INGEST_SPOOL_KEY": KEY}


def test_status_tells_what_lies_there(env: dict[str, str]) -> None:
    """As a table and as one JSON document."""
    (spool,) = json.loads(run_command(["spool", "status", "--json"], env).stdout)
    table = run_command(["spool", "status"], env)

    assert {name: spool[name] for name in ("spool", "inUse", "stored", "drained", "waiting", "setAside")} == {
        "spool": "0", "inUse": False, "stored": COUNT, "drained": 0, "waiting": COUNT, "setAside": 0
    }  # fmt: skip
    assert spool["oldestMs"] == NOW_MS
    assert table.returncode == 0
    assert str(COUNT) in table.stdout


def test_a_sound_spool_is_verified_and_a_damaged_one_is_told(env: dict[str, str], tmp_path: Path) -> None:
    """Exit code 1 and the range of what cannot be read; what can be read is exported all the same."""
    sound = run_command(["spool", "verify"], env)
    lost = flip_a_byte(tmp_path / "spool" / "0" / DATABASE)
    damaged = run_command(["spool", "verify"], env)
    exported = run_command(["spool", "export"], env)

    assert (sound.returncode, sound.stdout.strip()) == (0, "ok: 1 spools")
    assert damaged.returncode == 1
    assert "events 15..17" in damaged.stdout
    assert len(exported.stdout.splitlines()) == COUNT - lost


def test_export_gives_every_record(env: dict[str, str]) -> None:
    """One JSON document a line, in order."""
    lines = [json.loads(line) for line in run_command(["spool", "export"], env).stdout.splitlines()]

    assert [line["value"]["n"] for line in lines] == list(range(COUNT))
    assert {(line["topic"], line["key"], line["timestampMs"]) for line in lines} == {("events", "k", NOW_MS)}


def test_drain_moves_all_to_kafka(env: dict[str, str], kafka: KafkaCluster, topic_prefix: str) -> None:
    """By hand, for a spool whose process is gone; without brokers the command says so."""
    nowhere = run_command(["spool", "drain"], env)
    with_kafka = {
        **env,
        "INGEST_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "INGEST_KAFKA_ALLOW_SINGLE_COPY": "true",
        "INGEST_TOPIC_PREFIX": topic_prefix,
        "INGEST_TOPIC_PARTITIONS": "1",
    }
    done = run_command(["spool", "drain"], with_kafka)
    (spool,) = json.loads(run_command(["spool", "status", "--json"], env).stdout)

    assert (nowhere.returncode, done.returncode) == (1, 0)
    assert "INGEST_KAFKA_BOOTSTRAP" in nowhere.stderr
    assert (spool["drained"], spool["waiting"]) == (COUNT, 0)
    values = [json.loads(record.value)["n"] for record in read_topic(kafka.bootstrap, f"{topic_prefix}events")]
    assert values == list(range(COUNT))


def test_a_wrong_key_is_told(env: dict[str, str]) -> None:
    """In one line that does not show it."""
    other = SealKeys.generate()
    done = run_command(["spool", "verify"], {**env, "INGEST_SPOOL_KEY": other})

    assert done.returncode == 1
    assert "other keys" in done.stderr
    assert other not in done.stderr
