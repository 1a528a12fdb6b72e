import asyncio
import json
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from devservices.kafka import KafkaCluster
from ingest.transport.contract import Topic
from tests.integration.edge import await_true, batch, event, new_id, on_kafka, post, ready, run_command, stored
from tests.support.service import ServiceProcess

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
SHORT: Final = {"retention.ms": str(HOUR_MS), "segment.ms": "600000"}
"""Settings under which no topic keeps device identifiers for longer than promised."""


class Made(NamedTuple):
    """A topic as the brokers have it."""

    partitions: int
    copies: int
    config: dict[str, str]


async def _made(bootstrap: str, prefix: str) -> dict[str, Made]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        names = sorted(name for name in await admin.list_topics() if name.startswith(prefix))
        layout = {each["topic"]: each["partitions"] for each in await admin.describe_topics(names)}
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        made = {}
        for response in await admin.describe_configs(resources) if names else ():
            for _, _, _, name, entries in response.resources:
                copies = min(len(each["replicas"]) for each in layout[name])
                config = {entry[0]: entry[1] for entry in entries}
                made[name.removeprefix(prefix)] = Made(len(layout[name]), copies, config)
        return made
    finally:
        await admin.close()


def made(bootstrap: str, prefix: str) -> dict[str, Made]:
    """Return the topics that begin with `prefix`, by the rest of their names."""
    return asyncio.run(_made(bootstrap, prefix))


async def _create(bootstrap: str, names: list[str], config: dict[str, str]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 1, 1, topic_configs=config) for name in names])
    finally:
        await admin.close()


def listed(env: dict[str, str], *args: str) -> tuple[int, list[dict[str, Any]]]:
    """Run `ingest topics --json` and return its exit code and what it told."""
    done = run_command(["topics", "--json", *args], env)
    return done.returncode, json.loads(done.stdout)


def assert_one_line(stderr: str, *words: str) -> None:
    """Check that a refusal is told in one line that holds `words`."""
    (line,) = stderr.splitlines()
    assert line.startswith("ingest: ")
    assert [word for word in words if word not in line] == []


def test_a_start_creates_the_topics_that_are_missing(kafka: KafkaCluster, topic_prefix: str, tmp_path: Path) -> None:
    """All topics get the configured partitions, their retention, no unclean election, and short segments for ids."""
    env = on_kafka(kafka.bootstrap, topic_prefix, tmp_path, TOPIC_PARTITIONS="3")
    with ServiceProcess(env, folder=tmp_path):
        pass
    topics = made(kafka.bootstrap, topic_prefix)
    retention = {name: int(topic.config["retention.ms"]) for name, topic in topics.items()}

    assert set(topics) == set(Topic)
    assert {(topic.partitions, topic.copies) for topic in topics.values()} == {(3, 1)}
    assert {topic.config["unclean.leader.election.enable"] for topic in topics.values()} == {"false"}
    assert {topic.config["min.insync.replicas"] for topic in topics.values()} == {"1"}
    assert {topic.config["message.timestamp.type"] for topic in topics.values()} == {"LogAppendTime"}
    assert retention["forward"] == HOUR_MS
    assert retention["forward-parked"] == 2 * DAY_MS
    assert retention["dead-letters"] == 30 * DAY_MS
    assert topics["forward"].config["segment.ms"] == str(10 * 60 * 1000)


def test_the_command_creates_lists_and_checks(kafka: KafkaCluster, topic_prefix: str, tmp_path: Path) -> None:
    """`--check` creates nothing and fails on missing topics; without it they are created once and then found."""
    env = on_kafka(kafka.bootstrap, topic_prefix, tmp_path, TOPIC_PARTITIONS="2")
    missing = run_command(["topics", "--check"], env)
    untouched = made(kafka.bootstrap, topic_prefix)
    first, second = listed(env), listed(env, "--check")
    table = run_command(["topics"], env)

    assert_one_line(missing.stderr, "missing topics", f"{topic_prefix}events")
    assert (missing.returncode, untouched) == (1, {})
    assert (first[0], second[0], table.returncode) == (0, 0, 0)
    assert {(each["topic"], each["name"]) for each in first[1]} == {(each, topic_prefix + each) for each in Topic}
    assert ({each["created"] for each in first[1]}, {each["created"] for each in second[1]}) == ({True}, {False})
    assert {(each["partitions"], each["replication"]) for each in second[1]} == {(2, 1)}
    assert all(topic_prefix + each in table.stdout for each in Topic)


def test_too_few_copies_refuse_the_start(kafka: KafkaCluster, topic_prefix: str, tmp_path: Path) -> None:
    """Topics with one copy are refused in one line that names them and the way out; so does `ingest topics`."""
    asyncio.run(_create(kafka.bootstrap, [topic_prefix + topic for topic in Topic], SHORT))
    lenient = on_kafka(kafka.bootstrap, topic_prefix, tmp_path, PORT="0", ADMIN_PORT="0")
    env = {name: value for name, value in lenient.items() if name != "INGEST_KAFKA_ALLOW_SINGLE_COPY"}
    served, checked = run_command(["serve"], env), run_command(["topics", "--check"], env)

    for done in (served, checked):
        assert done.returncode == 1
        assert_one_line(done.stderr, f"topic {topic_prefix}events has 1 copies", "INGEST_KAFKA_ALLOW_SINGLE_COPY")
    assert listed(lenient, "--check")[0] == 0


def test_topics_that_keep_device_identifiers_refuse_the_start(
    kafka: KafkaCluster, topic_prefix: str, tmp_path: Path
) -> None:
    """By whomever they were made, in one line that names the setting; one copy is no excuse, and the list tells it."""
    asyncio.run(_create(kafka.bootstrap, [topic_prefix + Topic.FORWARD], {}))
    env = on_kafka(kafka.bootstrap, topic_prefix, tmp_path, PORT="0", ADMIN_PORT="0")
    served, (code, topics) = run_command(["serve"], env), listed(env)
    faults = {each["topic"]: each["lifetime_faults"] for each in topics}

    assert (served.returncode, code) == (1, 1)
    assert_one_line(served.stderr, f"topic {topic_prefix}forward has segment.ms 604800000", "retention.ms 604800000")
    assert "INGEST_KAFKA_ALLOW_SINGLE_COPY" not in served.stderr
    assert [topic for topic, told in faults.items() if told] == [Topic.FORWARD]


def test_too_few_brokers_create_nothing(kafka: KafkaCluster, topic_prefix: str, tmp_path: Path) -> None:
    """Where three copies are promised, no topic is made with fewer because brokers are missing."""
    lenient = on_kafka(kafka.bootstrap, topic_prefix, tmp_path, PORT="0", ADMIN_PORT="0")
    env = {name: value for name, value in lenient.items() if name != "INGEST_KAFKA_ALLOW_SINGLE_COPY"}
    served = run_command(["serve"], env)

    assert served.returncode == 1
    assert_one_line(served.stderr, "3 copies", "1 brokers", "INGEST_KAFKA_ALLOW_SINGLE_COPY")
    assert made(kafka.bootstrap, topic_prefix) == {}


@pytest.mark.usefixtures("kafka_distribution")
def test_three_copies_outlive_a_broker_and_two_losses_promise_no_copies(tmp_path: Path) -> None:
    """Of three brokers one may die and batches are still replicated; when two are dead no such promise is given."""
    with KafkaCluster(tmp_path / "kafka", brokers=3) as cluster:
        lenient = on_kafka(cluster.bootstrap, "sdk.", tmp_path, ACK_DEADLINE_MS="3000", TOPIC_PARTITIONS="2")
        env = {name: value for name, value in lenient.items() if name != "INGEST_KAFKA_ALLOW_SINGLE_COPY"}
        code, topics = listed(env)
        with ServiceProcess(env, folder=tmp_path / "edge") as service:
            await_true(lambda: ready(service).status == 200, "readiness")
            cluster.brokers[2].kill()
            await_true(lambda: stored(post(service.url, batch(event(new_id())))) == "replicated", "two are enough")
            cluster.brokers[1].kill()
            alone = post(service.url, batch(event(new_id())))
        cluster.brokers[0].kill()  # without a quorum it would take long to end

    assert code == 0
    assert {(each["replication"], each["in_sync_min"], tuple(each["faults"])) for each in topics} == {(3, 2, ())}
    assert (alone.status, stored(alone)) == (202, "spooled")


def test_without_brokers_the_command_says_so(tmp_path: Path) -> None:
    """The embedded log has no topics to show, and brokers that nobody can reach are one line as well."""
    unset = run_command(["topics"], {})
    away = run_command(["topics"], on_kafka("127.0.0.1:1", "x.", tmp_path))

    assert (unset.returncode, away.returncode) == (1, 1)
    assert_one_line(unset.stderr, "INGEST_KAFKA_BOOTSTRAP is not set")
    assert_one_line(away.stderr, "Kafka")
