"""The topics on the brokers: made where they are missing, and checked for the copies and lifetimes promised."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError, for_code

from ingest.transport.contract import ConfigurationError, Topic, Unavailable
from ingest.transport.kafka.connection import Connection
from ingest.transport.kafka.rights import Right, RightsRequest, rights_of
from ingest.transport.retention import RETENTION_MS

REPLICATION: Final = 3
IN_SYNC_MIN: Final = 2
APPEND_TIME: Final = "LogAppendTime"
"""Retention counts from a record's arrival: by its receipt, what a spool kept for long would be deleted unread."""

KNOWN_S: Final = 5.0
_KNOWN_TICK_S: Final = 0.1

SEGMENT_MS: Final = {Topic.FORWARD: 600_000, Topic.FORWARD_PARKED: 600_000}
"""A record's bytes go with its segment alone, so topics that may hold device identifiers roll theirs so often.

These may not keep them for longer than promised either, whoever made the topics.
"""


class TopicPlan(NamedTuple):
    """How topics are named and made, and how few copies are still accepted.

    `single_copy` accepts whatever replication the brokers have; without it fewer than `REPLICATION` copies, fewer than
    `IN_SYNC_MIN` in-sync replicas, unclean leader election or retention by the time of receipt are refused.
    """

    prefix: str
    partitions: int
    single_copy: bool

    def name(self, topic: Topic) -> str:
        """Return the topic's name on the brokers."""
        return self.prefix + topic


class TopicState(NamedTuple):
    """One topic as the brokers have it. The faults are sentences for the operator, none where it keeps the promise.

    `faults` concern copies, and a plan with `single_copy` has none; `lifetime_faults` nothing excuses.
    """

    topic: Topic
    name: str
    partitions: int
    replication: int
    in_sync_min: int
    faults: tuple[str, ...]
    created: bool
    lifetime_faults: tuple[str, ...] = ()


async def ensure_topics(connection: Connection, plan: TopicPlan, *, create: bool = True) -> list[TopicState]:
    """Return the state of every topic, after creating those that are missing.

    Raises `ConfigurationError` where a topic is missing and may not be created, and `Unavailable` where the brokers
    cannot be reached. Topics that promise too little, or keep records for too long, tell so in their faults.
    """
    admin = AIOKafkaAdminClient(request_timeout_ms=10_000, **connection.arguments())
    try:
        await admin.start()
        missing = await _missing(admin, plan)
        if missing and create:
            await _create(admin, plan, missing)
        elif missing:
            raise ConfigurationError(f"missing topics: {', '.join(map(plan.name, missing))}")
        return await _describe_known(admin, plan, set(missing))
    except OSError as error:
        raise Unavailable("Kafka cannot be reached") from error
    except KafkaError as error:
        raise Unavailable(f"Kafka does not answer: {type(error).__name__}") from error
    finally:
        await admin.close()


class TopicsFound(NamedTuple):
    """The topics as they are, of an `inspect_topics`: the states of those that are there, and which are missing.

    `refusal` tells why the missing ones could not be made, and is empty where they could. `rights` are what the account
    may do with a topic by its name, None where the brokers do not tell.
    """

    states: tuple[TopicState, ...]
    missing: tuple[Topic, ...]
    refusal: str
    rights: Mapping[str, frozenset[Right] | None]


async def inspect_topics(connection: Connection, plan: TopicPlan) -> TopicsFound:
    """Look at the topics, and have the brokers judge what would be made, without making it. Raises `Unavailable`."""
    admin = AIOKafkaAdminClient(request_timeout_ms=10_000, **connection.arguments())
    try:
        await admin.start()
        missing = await _missing(admin, plan)
        there = [topic for topic in Topic if topic not in missing]
        refusal = ""
        try:
            if missing:
                await _create(admin, plan, missing, validate_only=True)
        except ConfigurationError as error:
            refusal = str(error)
        states = await _describe(admin, plan, there, set()) if there else []
        if states is None:
            raise Unavailable("the brokers do not know all topics yet")
        answer = await admin._send_request(RightsRequest([plan.name(topic) for topic in there]))  # noqa: SLF001 - it has no such question
        return TopicsFound(tuple(states), tuple(missing), refusal, rights_of(answer))
    except OSError as error:
        raise Unavailable("Kafka cannot be reached") from error
    except KafkaError as error:
        raise Unavailable(f"Kafka does not answer: {type(error).__name__}") from error
    finally:
        await admin.close()


async def topic_exists(connection: Connection, name: str) -> bool:
    """Tell whether the brokers have a topic: a client that subscribes to a missing one waits for it a long time.

    Raises `OSError` or `KafkaError` where the brokers cannot be asked.
    """
    admin = AIOKafkaAdminClient(request_timeout_ms=10_000, **connection.arguments())
    try:
        await admin.start()
        return name in await admin.list_topics()
    finally:
        await admin.close()


def check(states: list[TopicState]) -> None:
    """Raise `ConfigurationError` with every fault of every topic, if there is one."""
    faults = [fault for state in states for fault in state.faults]
    lifetimes = [fault for state in states for fault in state.lifetime_faults]
    excuse = ["INGEST_KAFKA_ALLOW_SINGLE_COPY=true accepts that"] if faults else []
    if faults or lifetimes:
        raise ConfigurationError("; ".join([*lifetimes, *faults, *excuse]))


async def _missing(admin: Any, plan: TopicPlan) -> list[Topic]:
    known = set(await admin.list_topics())
    return [topic for topic in Topic if plan.name(topic) not in known]


async def _create(admin: Any, plan: TopicPlan, topics: list[Topic], *, validate_only: bool = False) -> None:
    """Create topics with the copies that are promised, never with fewer because a broker happens to be away.

    With `validate_only` the brokers judge whether they would, and make none.
    """
    brokers = len((await admin.describe_cluster())["brokers"])
    if brokers < REPLICATION and not plan.single_copy:
        raise ConfigurationError(
            f"new topics need {REPLICATION} copies, but there are only {brokers} brokers;"
            " INGEST_KAFKA_ALLOW_SINGLE_COPY=true accepts fewer"
        )
    copies = min(REPLICATION, brokers)
    durable = {
        "min.insync.replicas": str(min(IN_SYNC_MIN, copies)),
        "unclean.leader.election.enable": "false",
        "message.timestamp.type": APPEND_TIME,
    }
    response = await admin.create_topics(
        [
            NewTopic(plan.name(topic), plan.partitions, copies, topic_configs={**durable, **_lifetime(topic)})
            for topic in topics
        ],
        validate_only=validate_only,
    )
    for name, code, *_ in response.topic_errors:
        error = for_code(code)
        if code and error.__name__ != "TopicAlreadyExistsError":  # another process may have been faster
            raise ConfigurationError(f"topic {name} could not be created: {error.__name__}")


def _lifetime(topic: Topic) -> dict[str, str]:
    configs = {"retention.ms": str(RETENTION_MS[topic])}
    if topic in SEGMENT_MS:
        configs["segment.ms"] = str(SEGMENT_MS[topic])
    return configs


async def _describe_known(admin: Any, plan: TopicPlan, created: set[Topic]) -> list[TopicState]:
    """Describe the topics once the brokers know all of them: a new one is known to its controller first."""
    deadline = time.monotonic() + KNOWN_S
    while (states := await _describe(admin, plan, list(Topic), created)) is None:
        if time.monotonic() > deadline:
            raise Unavailable("the brokers do not know all topics yet")
        await asyncio.sleep(_KNOWN_TICK_S)
    return states


async def _describe(admin: Any, plan: TopicPlan, topics: list[Topic], created: set[Topic]) -> list[TopicState] | None:
    """Return the state of each of the topics, None while a broker that was asked does not know one of them.

    Layout and configuration may come from different brokers, so that knowing the one does not promise the other.
    """
    names = [plan.name(topic) for topic in topics]
    layout = {each["topic"]: each["partitions"] for each in await admin.describe_topics(names)}
    configs = await _configs(admin, names)
    if any(not layout.get(name) or name not in configs for name in names):
        return None
    states = []
    for topic, name in zip(topics, names, strict=True):
        partitions, config = layout[name], configs[name]
        replication = min(len(each["replicas"]) for each in partitions)
        in_sync_min = int(config["min.insync.replicas"])
        unclean = config["unclean.leader.election.enable"] == "true"
        clock = config["message.timestamp.type"]
        faults = _faults(name, replication, in_sync_min, clock, unclean=unclean) if not plan.single_copy else ()
        lifetimes = _lifetime_faults(topic, name, config)
        states.append(
            TopicState(topic, name, len(partitions), replication, in_sync_min, faults, topic in created, lifetimes)
        )
    return states


async def _configs(admin: Any, names: list[str]) -> dict[str, dict[str, str]]:
    """Return the configuration of each topic that the asked broker knows. Raises `KafkaError` if it may not be read."""
    configs: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names]):
        for code, _, _, name, entries in response.resources:
            if code == 0:
                configs[name] = {entry[0]: entry[1] for entry in entries}
            elif (error := for_code(code)) is not UnknownTopicOrPartitionError:
                raise error(name)
    return configs


def _faults(name: str, replication: int, in_sync_min: int, clock: str, *, unclean: bool) -> tuple[str, ...]:
    faults = []
    if replication < REPLICATION:
        faults.append(f"topic {name} has {replication} copies, at least {REPLICATION} are promised")
    if in_sync_min < IN_SYNC_MIN:
        faults.append(f"topic {name} has min.insync.replicas {in_sync_min}, at least {IN_SYNC_MIN} are promised")
    if unclean:
        faults.append(f"topic {name} allows unclean leader election, which can lose what was acknowledged")
    if clock != APPEND_TIME:
        faults.append(f"topic {name} has message.timestamp.type {clock}, so what a spool brings late is deleted unread")
    return tuple(faults)


def _lifetime_faults(topic: Topic, name: str, config: dict[str, str]) -> tuple[str, ...]:
    if topic not in SEGMENT_MS:
        return ()
    faults = []
    for entry, most in (("retention.ms", RETENTION_MS[topic]), ("segment.ms", SEGMENT_MS[topic])):
        if not 0 <= int(config[entry]) <= most:  # -1 is for ever
            faults.append(
                f"topic {name} has {entry} {config[entry]}, at most {most} is promised for device identifiers"
            )
    if (policy := config["cleanup.policy"]) != "delete":
        faults.append(
            f"topic {name} has cleanup.policy {policy}, which keeps device identifiers for longer than promised"
        )
    return tuple(faults)
