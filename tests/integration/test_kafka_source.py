"""A consumer that its group has gone on without: what it did in the meantime costs nothing, and it comes back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from devservices.kafka import KafkaCluster
from ingest.event import Record
from ingest.transport.contract import Topic, Unavailable
from ingest.transport.kafka.source import KafkaSource
from tests.integration.edge import WAIT_S
from tests.laws.worlds import KafkaWorld
from tests.support.receivers import leavings_collected

GROUP = "persist"
IDLE_S = 0.5
"""Stands for the minutes without a poll after which a consumer leaves its group."""


class Reader:
    """One source of the group, and the values that it was handed out."""

    def __init__(self, world: KafkaWorld, *, finishes: bool = False) -> None:
        source = world.source(Topic.EVENTS, GROUP)
        assert isinstance(source, KafkaSource)
        source._finishes = finishes
        self.source = source
        self.values: list[bytes] = []

    async def take(self) -> None:
        """Take what there is; as every loop does, go on where it cannot be had for the moment."""
        with contextlib.suppress(Unavailable):
            self.values += [record.value for record in await self.source.poll(100, 200)]

    async def take_until(self, holds: Callable[[], bool]) -> None:
        """Take again and again until it holds."""
        async with asyncio.timeout(WAIT_S):
            while not holds():
                await self.take()


@asynccontextmanager
async def reading(world: KafkaWorld, *, finishes: bool = False) -> AsyncIterator[Reader]:
    """Start a source and close it at the end."""
    reader = Reader(world, finishes=finishes)
    await reader.source.start()
    try:
        yield reader
    finally:
        await reader.source.close()


def test_a_member_that_was_away_too_long_goes_on(kafka: KafkaCluster, topic_prefix: str) -> None:
    """A commit after others took the partitions over keeps nothing and fails nothing; the next poll joins again."""
    world = KafkaWorld(kafka.bootstrap, topic_prefix)
    sent = {b"%d" % number for number in range(40)}

    async def play() -> set[bytes]:
        publisher = world.publisher()
        await publisher.start()
        try:
            await publisher.publish(Topic.EVENTS, [Record(value, value) for value in sent], 5)
            async with reading(world) as late:
                await late.take_until(lambda: set(late.values) == sent)
                assert late.source._consumer is not None
                late.source._consumer._coordinator._max_poll_interval = IDLE_S
                async with reading(world) as other:
                    await other.take_until(lambda: set(other.values) == sent)
                    await late.source.commit()
                late.values.clear()
                await late.take_until(lambda: set(late.values) == sent)
                await late.source.commit()
                return set(late.values)
        finally:
            await publisher.close()

    assert asyncio.run(play()) == sent


def test_what_is_at_hand_is_finished_before_others_have_its_partitions(kafka: KafkaCluster, topic_prefix: str) -> None:
    """Another member that joins is handed out nothing meanwhile, and nothing of it later."""
    world = KafkaWorld(kafka.bootstrap, topic_prefix)
    sent = {b"%d" % number for number in range(40)}

    async def play() -> tuple[bool, list[bytes]]:
        publisher = world.publisher()
        await publisher.start()
        try:
            await publisher.publish(Topic.EVENTS, [Record(value, value) for value in sent], 5)
            async with reading(world, finishes=True) as busy:
                await busy.take_until(lambda: set(busy.values) == sent)
                other = Reader(world, finishes=True)
                coming = asyncio.create_task(other.source.start())
                assert busy.source._consumer is not None
                members = busy.source._consumer._subscription
                async with asyncio.timeout(WAIT_S):
                    while not members.reassignment_in_progress:  # noqa: ASYNC110 - the client tells nobody
                        await asyncio.sleep(0.01)
                waited = not coming.done()
                await busy.source.commit()
                await asyncio.gather(coming, busy.take())
                await asyncio.gather(other.take(), busy.take())
                await other.source.close()
                assert len(busy.values) == len(sent)
                return waited, other.values
        finally:
            await publisher.close()

    assert asyncio.run(play()) == (True, [])


def test_a_consumer_whose_own_work_ended_is_replaced(kafka: KafkaCluster, topic_prefix: str) -> None:
    """Where the client gives up its place in the group for good, the next polls begin anew, and nothing is skipped."""
    world = KafkaWorld(kafka.bootstrap, topic_prefix)
    sent = {b"%d" % number for number in range(10)}

    async def play() -> set[bytes]:
        publisher = world.publisher()
        await publisher.start()
        try:
            await publisher.publish(Topic.EVENTS, [Record(value, value) for value in sent], 5)
            async with reading(world) as reader:
                await reader.take_until(lambda: set(reader.values) == sent)
                reader.values.clear()
                assert reader.source._consumer is not None
                reader.source._consumer._coordinator._coordination_task.cancel()
                await reader.take_until(lambda: set(reader.values) == sent)
                await reader.source.commit()
                return set(reader.values)
        finally:
            await publisher.close()

    assert asyncio.run(play()) == sent


def test_brokers_that_are_away_hold_up_no_end(kafka: KafkaCluster, topic_prefix: str) -> None:
    """A commit and a close end though no broker answers."""
    world = KafkaWorld(kafka.bootstrap, topic_prefix)

    async def play() -> None:
        publisher = world.publisher()
        await publisher.start()
        await publisher.publish(Topic.EVENTS, [Record(b"k", b"v")], 5)
        await publisher.close()
        reader = Reader(world)
        await reader.source.start()
        await reader.take_until(lambda: reader.values == [b"v"])
        kafka.brokers[0].pause()
        try:
            async with asyncio.timeout(2 * WAIT_S):
                with pytest.raises(Unavailable):
                    await reader.source.commit()
                await reader.source.close()
        finally:
            kafka.brokers[0].resume()
        async with asyncio.timeout(2 * WAIT_S):
            await asyncio.gather(*reader.source._ending, return_exceptions=True)

    with leavings_collected():
        asyncio.run(play())
