import asyncio
from typing import Final

import pytest

from devservices.kafka import KafkaCluster
from ingest.event import Record
from ingest.transport.contract import Publisher, RecordTooLarge, Stored, Topic
from ingest.transport.kafka.connection import Connection
from ingest.transport.kafka.publisher import LINGER_S, RECORD_BYTES_MAX, KafkaPublisher
from ingest.transport.kafka.topics import TopicPlan
from tests.integration.edge import read_topic

NOW_MS: Final = 1_767_225_600_000


def publisher(kafka: KafkaCluster, prefix: str) -> KafkaPublisher:
    """Make a patient publisher that has not been started."""
    return KafkaPublisher(Connection(kafka.bootstrap), TopicPlan(prefix, 1, single_copy=True), ack_deadline_ms=8_000)


def test_a_record_is_refused_here_before_kafka_refuses_it(kafka: KafkaCluster, topic_prefix: str) -> None:
    """The largest record that is let through is taken by a broker with its default limits."""

    async def story() -> None:
        edge = publisher(kafka, topic_prefix)
        await edge.start()
        try:
            largest = Record(b"k", b"x" * (RECORD_BYTES_MAX - 1))
            small = Record(b"k", b"small")
            assert await edge.publish(Topic.EVENTS, [small, largest, small], NOW_MS) is Stored.REPLICATED
            with pytest.raises(RecordTooLarge):
                await edge.publish(Topic.EVENTS, [small, Record(b"k", b"x" * RECORD_BYTES_MAX)], NOW_MS)
            assert edge.failures_total == 0
        finally:
            await edge.close()

    asyncio.run(story())

    sizes = [len(record.value) for record in read_topic(kafka.bootstrap, f"{topic_prefix}events")]
    assert sizes == [5, RECORD_BYTES_MAX - 1, 5]


async def _publish_behind_a_slow_round(edge: Publisher, kafka: KafkaCluster) -> None:
    kafka.brokers[0].pause()
    try:
        publishes = []
        for number in range(10):
            record = Record(b"k", str(number).encode())
            publishes.append(asyncio.create_task(edge.publish(Topic.EVENTS, [record], NOW_MS)))
            await asyncio.sleep(5 * LINGER_S)
    finally:
        kafka.brokers[0].resume()
    assert {await each for each in publishes} == {Stored.REPLICATED}


def test_rounds_follow_the_pace_of_a_slow_broker(kafka: KafkaCluster, topic_prefix: str) -> None:
    """What arrives while a round is under way leaves together in the next one, however many lingers pass."""

    async def story() -> int:
        edge = publisher(kafka, topic_prefix)
        await edge.start()
        try:
            await _publish_behind_a_slow_round(edge, kafka)
        finally:
            await edge.close()
        return edge.rounds_total

    assert asyncio.run(story()) == 2
    values = [record.value for record in read_topic(kafka.bootstrap, f"{topic_prefix}events")]
    assert values == [str(number).encode() for number in range(10)]
