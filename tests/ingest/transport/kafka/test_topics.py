import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import TopicAuthorizationFailedError, UnknownTopicOrPartitionError

from ingest.transport.contract import ConfigurationError, Topic, Unavailable
from ingest.transport.kafka import topics
from ingest.transport.kafka.connection import Connection
from ingest.transport.kafka.topics import TopicPlan, ensure_topics

PLAN = TopicPlan("sdk.", 2, single_copy=False)
SHORT = [("retention.ms", "3600000"), ("segment.ms", "600000"), ("cleanup.policy", "delete")]
SOUND = [
    ("min.insync.replicas", "2"),
    ("unclean.leader.election.enable", "false"),
    ("message.timestamp.type", "LogAppendTime"),
    *SHORT,
]
UNSOUND = [
    ("min.insync.replicas", "1"),
    ("unclean.leader.election.enable", "true"),
    ("message.timestamp.type", "CreateTime"),
    *SHORT,
]


class Admin:
    """A cluster of three brokers that has all topics; `codes` are the error codes of its answers about configs."""

    def __init__(self, *codes: int, config: Sequence[tuple[str, str]] = SOUND) -> None:
        self.codes = list(codes)
        self.config = config

    def __call__(self, **_: Any) -> "Admin":
        """Stand in for the class itself."""
        return self

    async def start(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""

    async def list_topics(self) -> list[str]:
        """All of them are there."""
        return [PLAN.name(topic) for topic in Topic]

    async def describe_topics(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Each has three copies."""
        return [{"topic": name, "partitions": [{"replicas": [1, 2, 3]}] * 2} for name in names]

    async def describe_configs(self, resources: Sequence[Any]) -> list[Any]:
        """Answer with the next code, without entries unless it is 0."""
        code = self.codes.pop(0) if self.codes else 0
        entries = [] if code else self.config
        return [SimpleNamespace(resources=[(code, "", 2, each.name, entries) for each in resources])]


def test_a_broker_that_has_not_heard_of_a_new_topic_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer without a configuration is no promise of too few copies: a new topic spreads from its controller."""
    monkeypatch.setattr(topics, "AIOKafkaAdminClient", Admin(UnknownTopicOrPartitionError.errno))
    states = asyncio.run(ensure_topics(Connection("-"), PLAN))

    assert {(state.replication, state.in_sync_min, state.faults) for state in states} == {(3, 2, ())}


def test_a_configuration_that_may_not_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be checked is not taken for sound: the reason is told."""
    monkeypatch.setattr(topics, "AIOKafkaAdminClient", Admin(TopicAuthorizationFailedError.errno))

    with pytest.raises(Unavailable, match="TopicAuthorizationFailedError"):
        asyncio.run(ensure_topics(Connection("-"), PLAN))


def test_every_fault_of_a_topic_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a configuration promises too little is said, each in a sentence; one copy accepts all of it."""
    monkeypatch.setattr(topics, "AIOKafkaAdminClient", Admin(config=UNSOUND))
    strict = asyncio.run(ensure_topics(Connection("-"), PLAN))
    lenient = asyncio.run(ensure_topics(Connection("-"), PLAN._replace(single_copy=True)))

    assert [fault.partition(", ")[0] for fault in strict[0].faults] == [
        "topic sdk.events has min.insync.replicas 1",
        "topic sdk.events allows unclean leader election",
        "topic sdk.events has message.timestamp.type CreateTime",
    ]
    assert {state.faults for state in lenient} == {()}


def test_device_identifiers_may_not_be_kept_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where topics that may hold them keep records for longer than promised the start is refused, copies or not."""
    long = [("retention.ms", "-1"), ("segment.ms", "604800000"), ("cleanup.policy", "compact,delete")]
    monkeypatch.setattr(topics, "AIOKafkaAdminClient", Admin(config=[*SOUND[:3], *long]))
    states = asyncio.run(ensure_topics(Connection("-"), PLAN._replace(single_copy=True)))

    assert {state.topic for state in states if state.lifetime_faults} == {Topic.FORWARD, Topic.FORWARD_PARKED}
    assert [fault.partition(",")[0] for state in states for fault in state.lifetime_faults[:2]] == [
        "topic sdk.forward has retention.ms -1",
        "topic sdk.forward has segment.ms 604800000",
        "topic sdk.forward-parked has retention.ms -1",
        "topic sdk.forward-parked has segment.ms 604800000",
    ]
    with pytest.raises(ConfigurationError, match="which keeps device identifiers for longer") as refused:
        topics.check(states)
    assert "INGEST_KAFKA_ALLOW_SINGLE_COPY" not in str(refused.value)
