"""The stores over which the laws of the transports are tried: a transport joins by a class like these."""

from pathlib import Path
from typing import Protocol

from ingest.transport.breaker import Breaker
from ingest.transport.contract import Publisher, Source, Topic
from ingest.transport.fallback import FallbackPublisher
from ingest.transport.kafka.connection import Connection
from ingest.transport.kafka.publisher import KafkaPublisher
from ingest.transport.kafka.source import KafkaSource
from ingest.transport.kafka.topics import TopicPlan
from ingest.transport.local_log import LocalLog
from ingest.transport.local_source import LocalLogSource
from ingest.transport.memory import MemorySource, MemoryTransport
from ingest.transport.sealed import SealKeys
from ingest.transport.spools import Spools


class World(Protocol):
    """One store with its two ends; every call makes a new object over the same store, as a restart would."""

    def publisher(self) -> Publisher:
        """Make a publisher that has not been started."""

    def source(self, topic: Topic, group: str) -> Source:
        """Make a source that has not been started."""


class MemoryWorld:
    """The twin; it keeps its records when it is closed and started again."""

    def __init__(self) -> None:
        self._transport = MemoryTransport()

    def publisher(self) -> Publisher:
        """Hand out the one transport."""
        return self._transport

    def source(self, topic: Topic, group: str) -> Source:
        """Make a source over it."""
        return MemorySource(self._transport, topic, group)


class LocalLogWorld:
    """The embedded log in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keys = SealKeys.parse(SealKeys.generate())

    def publisher(self) -> Publisher:
        """Make a log over the folder."""
        return LocalLog(self._folder, self._keys, bytes_max=64 * 2**20)

    def source(self, topic: Topic, group: str) -> Source:
        """Make a source over the folder."""
        return LocalLogSource(self._folder, self._keys, topic, group)


class FallbackWorld:
    """Kafka with the spool beside it, as an edge has both; Kafka is played by the twin. Nothing goes by the spool."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keys = SealKeys.parse(SealKeys.generate())
        self._transport = MemoryTransport()

    def publisher(self) -> Publisher:
        """Make a publisher over both."""
        breaker = Breaker()
        spools = Spools(self._folder, self._keys, self._open_log, breaker)
        return FallbackPublisher(self._transport, spools, breaker)

    def source(self, topic: Topic, group: str) -> Source:
        """Make a source over the twin."""
        return MemorySource(self._transport, topic, group)

    def _open_log(self, folder: Path) -> LocalLog:
        return LocalLog(folder, self._keys, bytes_max=64 * 2**20)


class KafkaWorld:
    """Topics of their own on a real Kafka: `prefix` stands in front of topics and consumer groups."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self._connection = Connection(bootstrap)
        self._plan = TopicPlan(prefix, partitions=2, single_copy=True)

    def publisher(self) -> Publisher:
        """Make a publisher to the topics."""
        return KafkaPublisher(self._connection, self._plan, ack_deadline_ms=4_000)

    def source(self, topic: Topic, group: str) -> Source:
        """Make a source over one of them."""
        return KafkaSource(self._connection, self._plan.name(topic), topic, group=self._plan.prefix + group)
