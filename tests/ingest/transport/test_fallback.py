"""Kafka and the spool behind one publisher: Kafka is played by the twin, the spool is the real one."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ingest.event import Record
from ingest.transport.breaker import Breaker
from ingest.transport.contract import ConfigurationError, RecordTooLarge, Stored, Topic, Unavailable
from ingest.transport.fallback import FallbackPublisher
from ingest.transport.files import refuse_network_file_system
from ingest.transport.local_log import LocalLog
from ingest.transport.log_format import DATABASE
from ingest.transport.memory import MemoryTransport
from ingest.transport.sealed import SealKeys
from ingest.transport.spools import Spools

KEYS = SealKeys.parse(SealKeys.generate())
NOW_MS = 1_767_225_600_000


def records(name: str, size: int = 3) -> list[Record]:
    """Make records whose values tell their order."""
    return [Record(name.encode(), f"{name}-{number}".encode()) for number in range(size)]


def open_log(folder: Path, keys: SealKeys = KEYS, bytes_max: int = 64 * 2**20) -> LocalLog:
    """Make a spool."""
    return LocalLog(folder, keys, bytes_max=bytes_max)


@asynccontextmanager
async def publishing(
    root: Path, kafka: MemoryTransport, keys: SealKeys = KEYS, bytes_max: int = 64 * 2**20
) -> AsyncIterator[FallbackPublisher]:
    """Start a publisher, as a process would, and close it."""
    breaker = Breaker()
    spools = Spools(root, keys, lambda folder: open_log(folder, keys, bytes_max), breaker)
    publisher = FallbackPublisher(kafka, spools, breaker)
    await publisher.start()
    try:
        yield publisher
    finally:
        await publisher.close()


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)


def run(story: Callable[[], Awaitable[None]]) -> None:
    """Run a test's story."""

    async def main() -> None:
        async with asyncio.timeout(60):
            await story()

    asyncio.run(main())


def stored_values(kafka: MemoryTransport) -> list[bytes]:
    """Return what came to Kafka, in its order."""
    return [record.value for record in kafka.records[Topic.EVENTS]]


def test_what_kafka_takes_is_replicated_and_nothing_is_spooled(tmp_path: Path) -> None:
    """With a healthy Kafka the spool stays empty."""

    async def story() -> None:
        kafka = MemoryTransport()
        async with publishing(tmp_path, kafka) as publisher:
            assert await publisher.publish(Topic.EVENTS, records("a"), NOW_MS) is Stored.REPLICATED
            assert publisher.spool_state().stored == 0
        assert len(stored_values(kafka)) == 3

    run(story)


def test_what_kafka_does_not_take_is_spooled_and_comes_to_it_later(tmp_path: Path) -> None:
    """In order, with the time of its receipt; the breaker opens and closes by itself, and the totals add up."""

    async def story() -> None:
        kafka = MemoryTransport()
        async with publishing(tmp_path, kafka) as publisher:
            kafka.fail_next(9)  # the one, and four attempts of the drain, which has two times of receipt to publish
            first = await publisher.publish(Topic.EVENTS, records("a"), NOW_MS)
            is_open = publisher.spool_state().breaker_open
            second = await publisher.publish(Topic.EVENTS, records("b"), NOW_MS + 1)
            await until(lambda: publisher.spool_state().drained == 6)
            state = publisher.spool_state()
            third = await publisher.publish(Topic.EVENTS, records("c"), NOW_MS)
        assert (first, second, third) == (Stored.SPOOLED, Stored.SPOOLED, Stored.REPLICATED)
        assert is_open
        assert not state.breaker_open
        assert (state.stored, state.drained, state.waiting, state.set_aside) == (6, 6, 0, 0)
        assert stored_values(kafka)[:6] == [r.value for r in (*records("a"), *records("b"))]
        assert [record.timestamp_ms for record in kafka.records[Topic.EVENTS][:6]] == [NOW_MS] * 3 + [NOW_MS + 1] * 3

    run(story)


def test_what_a_dead_process_left_is_drained(tmp_path: Path) -> None:
    """The next process takes the folder; and one that holds another folder adopts what nobody holds."""

    async def story() -> None:
        for number in (0, 1):
            log = open_log(tmp_path / str(number))
            await log.start()
            await log.publish(Topic.EVENTS, records(f"left{number}"), NOW_MS)
            await log.close()
        kafka = MemoryTransport()
        async with publishing(tmp_path, kafka) as publisher:
            await until(lambda: len(stored_values(kafka)) == 6)
            assert publisher.health().ok
        assert set(stored_values(kafka)) == {r.value for r in (*records("left0"), *records("left1"))}

    run(story)


def test_several_processes_have_spools_of_their_own(tmp_path: Path) -> None:
    """A folder that is held is not taken a second time."""

    async def story() -> None:
        away = MemoryTransport()
        away.fail_next(1_000_000)
        async with publishing(tmp_path, away) as one, publishing(tmp_path, away) as other:
            await one.publish(Topic.EVENTS, records("one"), NOW_MS)
            await other.publish(Topic.EVENTS, records("other", 2), NOW_MS)
            assert (one.spool_state().waiting, other.spool_state().waiting) == (3, 2)

    run(story)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


def test_a_full_spool_takes_no_more_and_keeps_what_it_has(tmp_path: Path) -> None:
    """Beyond the bound nothing is acknowledged, and what was is still there."""

    async def story() -> None:
        kafka = MemoryTransport()
        kafka.fail_next(1_000_000)
        taken = 0
        async with publishing(tmp_path, kafka, bytes_max=2**20) as publisher:
            while publisher.health().ok and taken < 1_000:
                with contextlib.suppress(Unavailable):
                    await publisher.publish(Topic.EVENTS, [Record(b"k", b"v" * 10_000)], NOW_MS)
                    taken += 1
            with pytest.raises(Unavailable, match="full"):
                await publisher.publish(Topic.EVENTS, [Record(b"k", b"v" * 10_000)], NOW_MS)
            assert publisher.spool_state().waiting == taken > 0

    run(story)


def test_hurried_it_spools_what_waits(tmp_path: Path) -> None:
    """Whoever waits for Kafka gets the promise of the spool at once."""

    async def story() -> None:
        kafka = MemoryTransport(ack_deadline_ms=60_000)
        async with publishing(tmp_path, kafka) as publisher:
            kafka.hold()
            waiting = asyncio.create_task(publisher.publish(Topic.EVENTS, records("a"), NOW_MS))
            await until(lambda: kafka.health().pending_records == 3)
            publisher.hurry()
            assert await waiting is Stored.SPOOLED

    run(story)


def test_a_record_that_is_too_large_is_no_outage(tmp_path: Path) -> None:
    """It is refused as such, is not spooled, and does not open the breaker."""

    async def story() -> None:
        kafka = MemoryTransport()
        async with publishing(tmp_path, kafka) as publisher:
            with pytest.raises(RecordTooLarge):
                await publisher.publish(Topic.EVENTS, [Record(b"k", b"v" * 1_000_001)], NOW_MS)
            assert publisher.spool_state() == (0, 0, 0, 0, publisher.spool_state().bytes_used, 0, False, 0, 0)

    run(story)


def test_a_wrong_key_refuses_the_start(tmp_path: Path) -> None:
    """A spool that cannot be opened is named with the id of its key, not passed over."""

    async def story() -> None:
        kafka = MemoryTransport()
        kafka.fail_next(1_000_000)
        async with publishing(tmp_path, kafka) as publisher:
            await publisher.publish(Topic.EVENTS, records("a"), NOW_MS)
        with pytest.raises(ConfigurationError, match="other keys"):
            async with publishing(tmp_path, kafka, SealKeys.parse(SealKeys.generate())):
                pass

    run(story)


def test_a_damaged_chunk_is_set_aside_and_the_rest_comes_to_kafka(tmp_path: Path) -> None:
    """It is counted as what it held, and stands in nobody's way; a later start still knows of it."""

    async def story() -> None:
        kafka = MemoryTransport()
        log = open_log(tmp_path / "0")
        await log.start()
        for name in ("a", "b", "c"):
            await log.publish(Topic.EVENTS, records(name), NOW_MS)
        await log.close()
        damage(tmp_path / "0" / DATABASE)
        async with publishing(tmp_path, kafka) as publisher:
            await until(lambda: publisher.spool_state().waiting == 0)
            state = publisher.spool_state()
        async with publishing(tmp_path, kafka) as publisher:
            assert publisher.spool_state().set_aside == 3
        assert (state.stored, state.drained, state.set_aside) == (9, 6, 3)
        assert stored_values(kafka) == [r.value for r in (*records("a"), *records("c"))]

    run(story)


def damage(path: Path) -> None:
    """Change one byte of the chunk in the middle."""
    with sqlite3.connect(path) as database:
        (sealed,) = database.execute("SELECT sealed FROM chunk ORDER BY first_offset LIMIT 1 OFFSET 1").fetchone()
    data = bytearray(path.read_bytes())
    data[data.index(sealed) + len(sealed) // 2] ^= 1
    path.write_bytes(data)


MOUNTS = """\
22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:40 / /mnt/share rw shared:2 - nfs4 server:/export rw
41 40 0:41 / /mnt/share/local\\040disk rw - xfs /dev/sdb rw
"""


@pytest.mark.parametrize(
    ("folder", "is_refused"), [("/var/spool", False), ("/mnt/share/spool", True), ("/mnt/share/local disk/x", False)]
)
def test_a_network_file_system_is_refused(tmp_path: Path, folder: str, *, is_refused: bool) -> None:
    """By the innermost mount above the folder; where the system does not tell, nothing is refused."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)

    refuse_network_file_system(Path(folder), tmp_path / "missing")
    if is_refused:
        with pytest.raises(ConfigurationError, match="nfs4"):
            refuse_network_file_system(Path(folder), mounts)
    else:
        refuse_network_file_system(Path(folder), mounts)
