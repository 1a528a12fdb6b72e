"""The ways to store records and to read them, as the settings have them."""

from pathlib import Path
from typing import Final

from ingest.setting import Secret
from ingest.settings import Settings
from ingest.telemetry.watch import Watch
from ingest.transport.breaker import Breaker
from ingest.transport.contract import ConfigurationError, Source, Topic
from ingest.transport.fallback import FallbackPublisher
from ingest.transport.files import private_folder
from ingest.transport.kafka.connection import Connection
from ingest.transport.kafka.publisher import KafkaPublisher
from ingest.transport.kafka.source import KafkaSource
from ingest.transport.kafka.topics import TopicPlan, topic_exists
from ingest.transport.known_erased import KnownErased
from ingest.transport.local_log import LocalLog
from ingest.transport.local_source import LocalLogSource
from ingest.transport.retention import RETENTION_MS
from ingest.transport.sealed import SealKeys
from ingest.transport.spools import Spools

LOG_FOLDER: Final = "log"
SPOOL_FOLDER: Final = "spool"
SPOOL_EXPIRING: Final = (Topic.FORWARD, Topic.FORWARD_PARKED)
"""Topics whose records may hold device identifiers: in the spool too they live no longer than allowed."""

FORWARD_GROUP: Final = "forward"
"""The consumer group of the forwarding process."""

PARKED_FOLDER: Final = "forward-parked"
"""Without Kafka the log of the forwarding process: what it parks, and its dead letters."""

KEY_FILE: Final = "spool.key"
WATCH_S: Final = 5.0
"""Between two looks at the brokers, and the longest wait for their answer."""


def kafka_connection(settings: Settings) -> Connection:
    """Return how to reach the configured brokers. Only to be asked where there are some."""
    assert settings.kafka_bootstrap is not None
    return Connection(
        bootstrap=settings.kafka_bootstrap,
        protocol=settings.kafka_security_protocol,
        sasl_mechanism=settings.kafka_sasl_mechanism,
        sasl_username=settings.kafka_sasl_username,
        sasl_password=settings.kafka_sasl_password.reveal() if settings.kafka_sasl_password else None,
        ssl_cafile=str(settings.kafka_ssl_cafile) if settings.kafka_ssl_cafile else None,
    )


def topic_plan(settings: Settings) -> TopicPlan:
    """Return how topics are named, made and checked."""
    return TopicPlan(settings.topic_prefix, settings.topic_partitions, settings.kafka_allow_single_copy)


def seal_keys(settings: Settings) -> SealKeys:
    """Return the keys of the local log: the configured ones, else those that `ingest dev` keeps in the data folder."""
    return read_keys(settings.spool_key, key_path(settings), "INGEST_SPOOL_KEY")


def read_keys(given: Secret | None, path: Path, variable: str) -> SealKeys:
    """Return the keys that are given, else those in a file. Raises `ConfigurationError`, which names the variable."""
    if given is not None:
        return SealKeys.parse(given.reveal())
    if not path.is_file():
        raise ConfigurationError(f"{variable} is not set, and there is no {path}")
    return SealKeys.parse(path.read_text(encoding="ascii"))


def key_path(settings: Settings) -> Path:
    """Return where `ingest dev` keeps the key that it generated."""
    return settings.data_dir / KEY_FILE


def kafka_publisher(settings: Settings) -> KafkaPublisher:
    """Return the way to Kafka alone. Only to be asked where there are brokers."""
    return KafkaPublisher(
        kafka_connection(settings),
        topic_plan(settings),
        ack_deadline_ms=settings.ack_deadline_ms,
        stall_ms=settings.stall_ms,
    )


def open_spool(settings: Settings, keys: SealKeys, folder: Path) -> LocalLog:
    """Return the log of one spool."""
    return LocalLog(
        folder,
        keys,
        bytes_max=settings.spool_bytes_max // settings.workers,
        retention_ms={topic: RETENTION_MS[topic] for topic in SPOOL_EXPIRING},
        ack_deadline_ms=settings.ack_deadline_ms,
    )


def open_fallback(settings: Settings, known: KnownErased) -> FallbackPublisher:
    """Return the transport of an edge with brokers: Kafka, and the spool while that is away.

    What is about somebody whom `known` tells does not go from the spool to Kafka.
    """
    keys, breaker = seal_keys(settings), Breaker()
    root = settings.data_dir / SPOOL_FOLDER
    spools = Spools(root, keys, lambda folder: open_spool(settings, keys, folder), breaker, known)
    return FallbackPublisher(kafka_publisher(settings), spools, breaker)


def open_log_transport(settings: Settings) -> LocalLog:
    """Return the transport of an edge without brokers: the local log."""
    return LocalLog(
        settings.data_dir / LOG_FOLDER,
        seal_keys(settings),
        bytes_max=settings.spool_bytes_max,
        retention_ms=RETENTION_MS,
        ack_deadline_ms=settings.ack_deadline_ms,
    )


def open_source(
    settings: Settings, topic: Topic, group: str | None, *, delete_done: bool = False, finishes: bool = False
) -> Source:
    """Return a reader of one topic from where the edge stores records in the end: Kafka, else the local log.

    On Kafka groups are named with the topics' prefix, so that installations that share brokers do not meet. With
    `delete_done` what the group has committed is deleted there behind it; in the local log its writer has to do that.
    With `finishes` a partition changes hands only once what was polled of it is committed, if that does not take long.
    """
    if settings.kafka_bootstrap is not None:
        plan = topic_plan(settings)
        named = None if group is None else plan.prefix + group
        connection = kafka_connection(settings)
        return KafkaSource(connection, plan.name(topic), topic, group=named, delete_done=delete_done, finishes=finishes)
    return LocalLogSource(settings.data_dir / LOG_FOLDER, seal_keys(settings), topic, group)


def watch_brokers(settings: Settings) -> tuple[Watch[bool], ...]:
    """Return what finds out whether the brokers answer: who has nothing to read would not notice. None without them."""
    if settings.kafka_bootstrap is None:
        return ()
    connection, topic = kafka_connection(settings), topic_plan(settings).name(Topic.EVENTS)
    return (Watch("transport", lambda: topic_exists(connection, topic), pause_s=WATCH_S, limit_s=WATCH_S),)


def open_data_dir(settings: Settings) -> None:
    """Make the data folder, for this user alone. Raises `ConfigurationError`."""
    try:
        private_folder(settings.data_dir)
    except OSError as error:
        raise ConfigurationError(f"INGEST_DATA_DIR cannot be used: {error}") from error
