"""What a group is done with: nobody can read it any more, and in the end no file of a broker or an edge holds it."""

import asyncio
import contextlib
import sqlite3
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from devservices.kafka import KafkaCluster
from ingest.clock import SystemClock
from ingest.event import Record
from ingest.transport.contract import Publisher, Topic, Unavailable
from ingest.transport.kafka.connection import Connection
from ingest.transport.kafka.forget import Forgetter
from ingest.transport.kafka.publisher import KafkaPublisher
from ingest.transport.kafka.source import KafkaSource
from ingest.transport.kafka.topics import TopicPlan
from ingest.transport.local_log import LocalLog
from ingest.transport.local_source import LocalLogSource
from ingest.transport.sealed import SealKeys
from tests.integration.edge import WAIT_S, await_true, on_local_log
from tests.support.receivers import leavings_collected
from tests.support.service import ServiceProcess

PARTITIONS = 2
SHORTENED = {
    "segment.ms": "500",
    "file.delete.delay.ms": "100",
    "message.timestamp.type": "LogAppendTime",
    "compression.type": "uncompressed",
}
"""Stands for the ten minutes of a segment, and for the minute that a deleted file stays."""


class World:
    """Topics of one test, and the group that forwards."""

    def __init__(self, bootstrap: str, prefix: str, *, copies: bool = False) -> None:
        self.bootstrap = bootstrap
        self.connection = Connection(bootstrap)
        self.plan = TopicPlan(prefix, PARTITIONS, single_copy=not copies)
        self.group = prefix + "forward"

    def name(self, topic: Topic = Topic.FORWARD) -> str:
        """Return the topic's name on the brokers."""
        return self.plan.name(topic)

    def source(self, topic: Topic = Topic.FORWARD, *, delete_done: bool = True) -> KafkaSource:
        """Make a source that has not been started."""
        return KafkaSource(self.connection, self.name(topic), topic, group=self.group, delete_done=delete_done)

    @asynccontextmanager
    async def consuming(self, topic: Topic = Topic.FORWARD, *, delete_done: bool = True) -> AsyncIterator[KafkaSource]:
        """Start a source and close it at the end."""
        source = self.source(topic, delete_done=delete_done)
        await source.start()
        try:
            yield source
        finally:
            await source.close()

    async def readable(self, topic: Topic = Topic.FORWARD) -> list[bytes]:
        """Return the values of all that somebody reads who begins at the beginning."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        try:
            places = [TopicPartition(self.name(topic), number) for number in range(PARTITIONS)]
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            values: list[bytes] = []
            while any([await consumer.position(place) < ends[place] for place in places]):
                found = await consumer.getmany(timeout_ms=500)
                values += [record.value for records in found.values() for record in records]
            return values
        finally:
            await consumer.stop()

    async def await_readable(self, values: Sequence[bytes], topic: Topic = Topic.FORWARD) -> None:
        """Wait until nothing but these can be read."""
        async with asyncio.timeout(WAIT_S):
            while sorted(await self.readable(topic)) != sorted(values):
                pass

    async def configure(self, topic: Topic, entries: dict[str, str]) -> None:
        """Replace a topic's settings."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            (response,) = await admin.alter_configs(
                [ConfigResource(ConfigResourceType.TOPIC, self.name(topic), entries)]
            )
            assert [code for code, *_ in response.resources] == [0]
        finally:
            await admin.close()


def records(*values: bytes) -> list[Record]:
    """Make a record of each value, over all partitions."""
    return [Record(value, value) for value in values]


def some(count: int) -> list[bytes]:
    """Make values that nobody else uses."""
    return [uuid.uuid4().hex.encode() for _ in range(count)]


async def take(source: KafkaSource, count: int) -> list[bytes]:
    """Take that many."""
    values: list[bytes] = []
    async with asyncio.timeout(WAIT_S):
        while len(values) < count:
            values += [record.value for record in await source.poll(count - len(values), 500)]
    return values


def play(world: World, story: Callable[[Publisher], Awaitable[None]]) -> None:
    """Run a test's story with a publisher to its topics."""

    async def main() -> None:
        publisher = KafkaPublisher(world.connection, world.plan, ack_deadline_ms=10_000)
        await publisher.start()
        try:
            async with asyncio.timeout(90):
                await story(publisher)
        finally:
            await publisher.close()

    asyncio.run(main())


def in_files(folder: Path, *needles: bytes) -> bool:
    """Tell whether any file of the brokers holds one of these."""
    for path in folder.rglob("*"):
        try:
            content = path.read_bytes() if path.is_file() else b""
        except FileNotFoundError:
            continue
        if any(needle in content for needle in needles):
            return True
    return False


@pytest.mark.parametrize("topic", [Topic.FORWARD, Topic.FORWARD_PARKED])
def test_what_is_committed_cannot_be_read_any_more(kafka: KafkaCluster, topic_prefix: str, topic: Topic) -> None:
    """While the consumer goes on; what it has not committed is there for others, and other topics keep all."""
    world = World(kafka.bootstrap, topic_prefix)
    done, later = some(20), some(20)

    async def story(publisher: Publisher) -> None:
        await publisher.publish(topic, records(*done), 5)
        await publisher.publish(Topic.EVENTS, records(*done), 5)
        async with world.consuming(topic) as source:
            assert sorted(await take(source, 20)) == sorted(done)
            await source.commit()
            await world.await_readable([], topic)
            await publisher.publish(topic, records(*later), 5)
            await take(source, 20)
            assert sorted(await world.readable(topic)) == sorted(later)
        assert sorted(await world.readable(topic)) == sorted(later)
        assert sorted(await world.readable(Topic.EVENTS)) == sorted(done)

    play(world, story)


def test_an_end_deletes_what_was_committed_last(kafka: KafkaCluster, topic_prefix: str) -> None:
    """Once a source is closed nobody reads what it had committed."""
    world = World(kafka.bootstrap, topic_prefix)

    async def story(publisher: Publisher) -> None:
        async with world.consuming() as source:
            for _ in range(3):
                values = some(4)
                await publisher.publish(Topic.FORWARD, records(*values), 5)
                await take(source, 4)
                await source.commit()
        assert await world.readable() == []

    play(world, story)


def test_a_start_deletes_what_was_committed_before(kafka: KafkaCluster, topic_prefix: str) -> None:
    """As after a crash between a commit and its deletion: before anything is taken."""
    world = World(kafka.bootstrap, topic_prefix)
    values = some(10)

    async def story(publisher: Publisher) -> None:
        await publisher.publish(Topic.FORWARD, records(*values), 5)
        async with world.consuming(delete_done=False) as source:
            taken = await take(source, 4)
            await source.commit()
        assert len(await world.readable()) == 10
        async with world.consuming():
            await world.await_readable([value for value in values if value not in taken])

    play(world, story)


def test_no_member_deletes_more_than_its_group_has_committed(kafka: KafkaCluster, topic_prefix: str) -> None:
    """One that was left behind with all records in hand deletes none that the others have still to take."""
    world = World(kafka.bootstrap, topic_prefix)
    values = some(30)

    async def story(publisher: Publisher) -> None:
        await publisher.publish(Topic.FORWARD, records(*values), 5)
        async with world.consuming() as late:
            await take(late, 30)
            assert late._consumer is not None
            late._consumer._coordinator._max_poll_interval = 0.5
            async with world.consuming() as other:
                taken = await take(other, 30)
                await late.commit()
                assert sorted(taken) == sorted(values)
                assert late._forgetter is not None
                late._forgetter.due()
                async with asyncio.timeout(WAIT_S):
                    while late._forgetter._met < late._forgetter._wanted:  # noqa: ASYNC110 - there is no event for it
                        await asyncio.sleep(0.05)
                assert sorted(await world.readable()) == sorted(values)
                await other.commit()
                await world.await_readable([])

    play(world, story)


def test_a_deletion_that_fails_holds_up_nothing_and_is_made_up_for(
    kafka: KafkaCluster, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polls and commits go on, the fault is told once, and without a further commit it goes in the end."""
    world = World(kafka.bootstrap, topic_prefix)
    delete, refusals = Forgetter._delete, 2

    async def refuse(self: Forgetter) -> None:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise OSError("away")
        await delete(self)

    monkeypatch.setattr(Forgetter, "_delete", refuse)

    async def story(publisher: Publisher) -> None:
        async with world.consuming() as source:
            await publisher.publish(Topic.FORWARD, records(*some(4)), 5)
            await take(source, 4)
            await source.commit()
            assert source._forgetter is not None
            assert source._forgetter.fault == "OSError"
            assert len(await world.readable()) == 4
            await world.await_readable([])
            assert source._forgetter.fault == ""

    play(world, story)


def test_brokers_that_are_away_hold_up_no_end(kafka: KafkaCluster, topic_prefix: str) -> None:
    """A source that has something to delete ends all the same, and the next start deletes it."""
    world = World(kafka.bootstrap, topic_prefix)

    async def story(publisher: Publisher) -> None:
        await publisher.publish(Topic.FORWARD, records(*some(4)), 5)
        source = world.source()
        await source.start()
        await take(source, 4)
        await source.commit()
        kafka.brokers[0].pause()
        try:
            async with asyncio.timeout(WAIT_S):
                await source.close()
        finally:
            kafka.brokers[0].resume()
        async with asyncio.timeout(WAIT_S):
            await asyncio.gather(*source._ending, return_exceptions=True)
        async with world.consuming():
            await world.await_readable([])

    with leavings_collected():
        play(world, story)


@pytest.mark.parametrize("way", ["a next segment", "retention"])
def test_the_bytes_go(kafka: KafkaCluster, topic_prefix: str, way: str) -> None:
    """From every file of the brokers: once a further record began a segment, or by retention where none comes."""
    world = World(kafka.bootstrap, topic_prefix)
    marks = some(6)

    async def story(publisher: Publisher) -> None:
        await world.configure(Topic.FORWARD, {**SHORTENED, "retention.ms": "3600000"})
        await publisher.publish(Topic.FORWARD, records(*marks), 5)
        assert await asyncio.to_thread(in_files, kafka.folder, *marks)
        async with world.consuming() as source:
            await take(source, 6)
            await source.commit()
            await world.await_readable([])
        if way == "retention":
            await world.configure(Topic.FORWARD, {**SHORTENED, "retention.ms": "1000"})
        async with asyncio.timeout(90):
            while await asyncio.to_thread(in_files, kafka.folder, *marks):
                if way == "a next segment":
                    with contextlib.suppress(Unavailable):  # whether this one is stored is no matter
                        await publisher.publish(Topic.FORWARD, records(*some(PARTITIONS * 4)), 5)
                await asyncio.sleep(0.5)

    play(world, story)


@pytest.mark.usefixtures("kafka_distribution")
def test_it_follows_the_leaders(tmp_path: Path) -> None:
    """Partitions led by several brokers are all deleted from, also when one of these dies and others take over."""
    with KafkaCluster(tmp_path / "kafka", brokers=3) as cluster:
        world = World(cluster.bootstrap, "sdk.", copies=True)

        async def story(publisher: Publisher) -> None:
            async with world.consuming() as source:
                for is_whole in (True, False):
                    if not is_whole:
                        cluster.brokers[2].kill()
                    values = some(20)
                    await publisher.publish(Topic.FORWARD, records(*values), 5)
                    await take(source, 20)
                    await source.commit()
                    await world.await_readable([])

        with leavings_collected():
            play(world, story)


def test_an_edge_deletes_from_its_log_what_another_process_has_forwarded(tmp_path: Path) -> None:
    """While it serves, and at its start what was committed while it did not run."""
    key = SealKeys.generate()
    folder = tmp_path / "data" / "log"

    async def publish() -> None:
        log = LocalLog(folder, SealKeys.parse(key), bytes_max=2**26)
        await log.start()
        await log.publish(Topic.FORWARD, records(*some(20)), SystemClock().now_ms())
        await log.close()

    async def forward(count: int) -> None:
        source = LocalLogSource(folder, SealKeys.parse(key), Topic.FORWARD, "forward")
        await source.start()
        assert len(await source.poll(count, 10_000)) == count
        await source.commit()
        await source.close()

    def sealed() -> bytes:
        with contextlib.closing(sqlite3.connect(f"file:{folder}/log.db?mode=ro", uri=True)) as database:
            ((chunk,),) = database.execute("SELECT sealed FROM chunk").fetchall()
            return bytes(chunk)

    asyncio.run(publish())
    whole = sealed()
    asyncio.run(forward(5))
    assert in_files(folder, whole[100:200])
    with ServiceProcess({**on_local_log(tmp_path), "INGEST_SPOOL_KEY": key}, folder=tmp_path):
        await_true(lambda: not in_files(folder, whole[100:200]), "it begins with what was committed before")
        rest = sealed()
        asyncio.run(forward(15))
        await_true(lambda: not in_files(folder, rest[100:200]), "it goes on")
