import asyncio
from typing import Any, Final

import pytest

from devservices.kafka import KafkaCluster
from ingest.event import Record
from ingest.transport.contract import Publisher, RecordTooLarge, Stored, Topic, Unavailable
from ingest.transport.kafka.connection import Connection
from ingest.transport.kafka.discard import tasks_of
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


def test_a_stuck_producer_is_replaced_without_a_trace(kafka: KafkaCluster, topic_prefix: str) -> None:
    """No task and no connection of the old one survives, although the broker stands still; the new one works."""

    async def story() -> None:
        plan = TopicPlan(topic_prefix, 1, single_copy=True)
        edge = KafkaPublisher(Connection(kafka.bootstrap), plan, ack_deadline_ms=4_000, stall_ms=300)
        await edge.start()
        await edge.publish(Topic.EVENTS, [Record(b"k", b"before")], NOW_MS)
        old: Any = edge._producer
        kafka.brokers[0].pause()
        try:
            with pytest.raises(Unavailable):
                await edge.publish(Topic.EVENTS, [Record(b"k", b"stuck")], NOW_MS)
            assert not edge.health().ok
            await asyncio.wait(edge._discards, timeout=5)
            assert tasks_of(old) == set()
            assert not any(connection.connected() for connection in old.client._conns.values())
            assert not old._message_accumulator._batches
        finally:
            kafka.brokers[0].resume()
        async with asyncio.timeout(20):
            while True:
                try:
                    await edge.publish(Topic.EVENTS, [Record(b"k", b"after")], NOW_MS)
                except Unavailable:
                    await asyncio.sleep(0.05)
                else:
                    break
        assert edge._producer is not old
        await edge.close()

    asyncio.run(story())

    values = [record.value for record in read_topic(kafka.bootstrap, f"{topic_prefix}events")]
    assert (values[0], values[-1]) == (b"before", b"after")
    assert set(values) <= {b"before", b"stuck", b"after"}


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
