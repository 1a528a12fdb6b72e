"""What every transport promises, whatever lies behind it: one suite over all of them.

A transport joins by a `World` and one more parameter of the fixture below.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ingest.event import Record
from ingest.transport.contract import (
    SCHEMA,
    Delivered,
    Publisher,
    RecordTooLarge,
    Source,
    Stored,
    Topic,
    Unavailable,
)
from tests.laws.worlds import FallbackWorld, KafkaWorld, LocalLogWorld, MemoryWorld, World

NOW_MS = 1_767_225_600_000
"""Long ago, as of what a spool kept: no store may count its retention from this."""
WAIT_MS = 30_000
"""Longest wait for records that are known to come; tests that expect none do not wait."""


@pytest.fixture(params=["memory", "local_log", "fallback", "kafka"])
def world(request: pytest.FixtureRequest, tmp_path: Path, topic_prefix: str) -> World:
    """Give an empty store."""
    if request.param == "kafka":
        return KafkaWorld(request.getfixturevalue("kafka").bootstrap, topic_prefix)
    if request.param == "fallback":
        return FallbackWorld(tmp_path / "spool")
    return MemoryWorld() if request.param == "memory" else LocalLogWorld(tmp_path / "log")


@asynccontextmanager
async def publishing(world: World) -> AsyncIterator[Publisher]:
    """Start a publisher and close it at the end."""
    publisher = world.publisher()
    await publisher.start()
    try:
        yield publisher
    finally:
        await publisher.close()


@asynccontextmanager
async def consuming(world: World, topic: Topic = Topic.EVENTS, group: str = "persist") -> AsyncIterator[Source]:
    """Start a source and close it at the end."""
    source = world.source(topic, group)
    await source.start()
    try:
        yield source
    finally:
        await source.close()


def batch(name: str, size: int) -> list[Record]:
    """Make `size` records of one key whose values tell their order."""
    return [Record(name.encode(), f'{{"{name}":{position}}}'.encode()) for position in range(size)]


async def take(source: Source, count: int) -> list[Delivered]:
    """Poll until `count` records came; fails when they do not come in time."""
    records: list[Delivered] = []
    while len(records) < count:
        some = await source.poll(count - len(records), WAIT_MS)
        assert some, f"only {len(records)} of {count} records came"
        records.extend(some)
    return records


def pairs(records: Sequence[Delivered]) -> list[Record]:
    """Reduce to key and value."""
    return [Record(record.key, record.value) for record in records]


def by_key(records: Sequence[Delivered]) -> dict[bytes, list[bytes]]:
    """Group the values by key, in the order in which they came."""
    values = defaultdict(list)
    for record in records:
        values[record.key].append(record.value)
    return dict(values)


def run(story: Callable[[], Awaitable[None]]) -> None:
    """Run one test's story on an event loop of its own."""

    async def main() -> None:
        async with asyncio.timeout(90):
            await story()

    asyncio.run(main())


def test_what_was_published_comes_out_as_it_went_in(world: World) -> None:
    """Key, value, topic and schema header of a record survive, and the order of one key; time does not run back."""

    async def story() -> None:
        sent = [Record(b"k", bytes([byte]) * byte) for byte in range(256)]
        async with publishing(world) as publisher, consuming(world) as source:
            assert await publisher.publish(Topic.EVENTS, sent, NOW_MS) in Stored
            received = await take(source, len(sent))
        assert pairs(received) == sent
        assert {(record.topic, record.headers) for record in received} == {(Topic.EVENTS, SCHEMA)}
        assert min(record.timestamp_ms for record in received) >= NOW_MS

    run(story)


def test_offsets_grow_by_one(world: World) -> None:
    """Within a partition no offset is left out or used twice, also across restarts of the publisher."""

    async def story() -> None:
        for round_ in range(3):
            async with publishing(world) as publisher:
                await publisher.publish(Topic.EVENTS, batch(f"round{round_}", 5), NOW_MS)
                await publisher.publish(Topic.EVENTS, batch("same", 5), NOW_MS)
        async with consuming(world) as source:
            received = await take(source, 30)
        offsets = defaultdict(list)
        for record in received:
            offsets[record.partition].append(record.offset)
        for partition in offsets.values():
            assert partition == list(range(partition[0], partition[0] + len(partition)))

    run(story)


def test_one_key_stays_in_one_partition(world: World) -> None:
    """The partition follows from the key alone."""

    async def story() -> None:
        async with publishing(world) as publisher, consuming(world) as source:
            for name in ("a", "b", "a", "b"):
                await publisher.publish(Topic.EVENTS, batch(name, 3), NOW_MS)
            received = await take(source, 12)
        partitions = defaultdict(set)
        for record in received:
            partitions[record.key].add(record.partition)
        assert all(len(of_key) == 1 for of_key in partitions.values())

    run(story)


def test_callers_at_once_all_get_stored_in_their_own_order(world: World) -> None:
    """Publishes that overlap are all stored, and each batch keeps its order."""

    async def story() -> None:
        names = [f"caller{number}" for number in range(50)]
        async with publishing(world) as publisher, consuming(world) as source:
            await asyncio.gather(*[publisher.publish(Topic.EVENTS, batch(name, 7), NOW_MS) for name in names])
            received = await take(source, 350)
        assert by_key(received) == {name.encode(): [r.value for r in batch(name, 7)] for name in names}

    run(story)


def test_topics_do_not_mix(world: World) -> None:
    """A source hands out the records of its own topic only."""

    async def story() -> None:
        async with publishing(world) as publisher:
            await asyncio.gather(
                publisher.publish(Topic.EVENTS, batch("event", 3), NOW_MS),
                publisher.publish(Topic.FORWARD, batch("forward", 3), NOW_MS),
            )
            for topic, name in ((Topic.EVENTS, "event"), (Topic.FORWARD, "forward")):
                async with consuming(world, topic) as source:
                    assert pairs(await take(source, 3)) == batch(name, 3)

    run(story)


def test_poll_hands_out_no_more_than_asked_for(world: World) -> None:
    """A batch larger than `records_max` comes in several polls, nothing twice and nothing lost."""

    async def story() -> None:
        async with publishing(world) as publisher, consuming(world) as source:
            await publisher.publish(Topic.EVENTS, batch("k", 10), NOW_MS)
            polls: list[Sequence[Delivered]] = []
            while sum(len(records) for records in polls) < 10:
                polls.append(await source.poll(3, WAIT_MS))
        assert all(1 <= len(records) <= 3 for records in polls)
        assert [record for records in polls for record in pairs(records)] == batch("k", 10)

    run(story)


def test_poll_without_news_returns_nothing(world: World) -> None:
    """An empty topic gives an empty answer once the wait is over."""

    async def story() -> None:
        async with publishing(world), consuming(world) as source:
            assert not await source.poll(10, 0)
            assert not await source.poll(10, 60)

    run(story)


def test_poll_waits_for_what_comes(world: World) -> None:
    """A poll that began on an empty topic returns what is published meanwhile."""

    async def story() -> None:
        async with publishing(world) as publisher, consuming(world) as source:
            assert not await source.poll(10, 0)
            polled = asyncio.create_task(take(source, 4))
            await asyncio.sleep(0)
            await publisher.publish(Topic.EVENTS, batch("late", 4), NOW_MS)
            assert pairs(await polled) == batch("late", 4)

    run(story)


def test_a_group_continues_behind_its_commit(world: World) -> None:
    """After a restart a group gets what it had not committed, again, and nothing that it had."""

    async def story() -> None:
        async with publishing(world) as publisher:
            await publisher.publish(Topic.EVENTS, batch("k", 10), NOW_MS)
        async with consuming(world) as source:
            await take(source, 4)
            await source.commit()
            await take(source, 3)
        async with consuming(world) as source:
            assert pairs(await take(source, 6)) == batch("k", 10)[4:]
            await source.commit()
        async with consuming(world) as source:
            assert not await source.poll(10, 0)

    run(story)


def test_a_commit_without_news_changes_nothing(world: World) -> None:
    """Committing twice, or before anything was handed out, is harmless."""

    async def story() -> None:
        async with publishing(world) as publisher:
            await publisher.publish(Topic.EVENTS, batch("k", 2), NOW_MS)
        async with consuming(world) as source:
            await source.commit()
            await take(source, 1)
            await source.commit()
            await source.commit()
        async with consuming(world) as source:
            await source.commit()
        async with consuming(world) as source:
            assert pairs(await take(source, 1)) == batch("k", 2)[1:]

    run(story)


async def lag(source: Source) -> int:
    """Return how many records the source has still to take, once that is known."""
    while (records := await source.lag_records()) is None:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.01)
    return records


def test_the_lag_counts_what_is_still_to_be_taken(world: World) -> None:
    """It falls with what is handed out and rises with what is published; what a group has committed does not count."""

    async def story() -> None:
        async with publishing(world) as publisher:
            await publisher.publish(Topic.EVENTS, batch("k", 10), NOW_MS)
            async with consuming(world) as source:
                await take(source, 4)
                assert await lag(source) == 6
                await source.commit()
                await take(source, 6)
                assert await lag(source) == 0
                await publisher.publish(Topic.EVENTS, batch("k", 3), NOW_MS)
                await take(source, 1)
                assert await lag(source) == 2
            assert await source.lag_records() in {None, 2}  # closed, but asked by somebody who does not know it yet
            async with consuming(world) as source:
                await take(source, 1)
                assert await lag(source) == 8

    run(story)


def test_groups_do_not_see_each_other(world: World) -> None:
    """Each group gets every record, wherever the others stand."""

    async def story() -> None:
        async with publishing(world) as publisher:
            await publisher.publish(Topic.EVENTS, batch("k", 5), NOW_MS)
        async with consuming(world, group="persist") as one:
            await take(one, 5)
            await one.commit()
        async with consuming(world, group="forward") as other:
            assert pairs(await take(other, 5)) == batch("k", 5)

    run(story)


def test_a_caller_that_gives_up_withdraws_nothing(world: World) -> None:
    """Records of a cancelled publish are stored all the same once they were handed over."""

    async def story() -> None:
        async with publishing(world) as publisher, consuming(world) as source:
            impatient = asyncio.create_task(publisher.publish(Topic.EVENTS, batch("gone", 3), NOW_MS))
            await asyncio.sleep(0)
            impatient.cancel()
            await asyncio.gather(impatient, return_exceptions=True)
            await publisher.publish(Topic.EVENTS, batch("here", 3), NOW_MS)
            assert by_key(await take(source, 6)).keys() == {b"gone", b"here"}

    run(story)


def test_closing_stores_what_was_published_before(world: World) -> None:
    """Publishes that are under way when the publisher is closed are kept and acknowledged."""

    async def story() -> None:
        publisher = world.publisher()
        await publisher.start()
        under_way = [asyncio.create_task(publisher.publish(Topic.EVENTS, batch(f"k{n}", 2), NOW_MS)) for n in range(8)]
        await asyncio.sleep(0)
        await publisher.close()
        assert all(stored in Stored for stored in await asyncio.gather(*under_way))
        async with publishing(world), consuming(world) as source:
            assert len(by_key(await take(source, 16))) == 8

    run(story)


def test_closing_twice_is_harmless(world: World) -> None:
    """A second close of either end does nothing, and nothing is promised after the first."""

    async def story() -> None:
        async with publishing(world) as publisher:
            await publisher.close()
            with pytest.raises(Unavailable):
                await publisher.publish(Topic.EVENTS, batch("k", 1), NOW_MS)
        async with consuming(world) as source:
            await source.close()

    run(story)


def test_a_record_that_can_never_be_stored_is_refused_alone(world: World) -> None:
    """Too large a record is told apart from an outage, nothing of its batch is kept, and others are not held up."""

    async def story() -> None:
        async with publishing(world) as publisher, consuming(world) as source:
            with pytest.raises(RecordTooLarge) as refused:
                await publisher.publish(Topic.EVENTS, [*batch("bad", 1), Record(b"big", b"s" * 8 * 2**20)], NOW_MS)
            assert b"ssss" not in str(refused.value).encode()
            await publisher.publish(Topic.EVENTS, batch("good", 2), NOW_MS)
            assert pairs(await take(source, 2)) == batch("good", 2)

    run(story)


def test_an_idle_publisher_is_healthy_and_has_nothing_pending(world: World) -> None:
    """Health counts what waits for its acknowledgement and tells no reason while all is well."""

    async def story() -> None:
        async with publishing(world) as publisher:
            await publisher.publish(Topic.EVENTS, batch("k", 2), NOW_MS)
            assert publisher.health() == (True, "", 0, 0)
            under_way = asyncio.create_task(publisher.publish(Topic.EVENTS, batch("k", 2), NOW_MS))
            await under_way
            assert publisher.health().pending_records == 0

    run(story)
