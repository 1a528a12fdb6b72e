"""Spools that honour erasures: nothing about somebody who is erased goes to Kafka late, or stays while it is away."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from ingest.erasure import subject_of
from ingest.event import Record
from ingest.transport import spool_view
from ingest.transport.breaker import Breaker
from ingest.transport.contract import Delivered, Stored, Topic, Unavailable
from ingest.transport.fallback import FallbackPublisher
from ingest.transport.known_erased import KnownErased
from ingest.transport.local_log import LocalLog
from ingest.transport.memory import MemoryTransport
from ingest.transport.sealed import SealKeys
from ingest.transport.spools import Spools

KEYS = SealKeys.parse(SealKeys.generate())
NOW_MS = 1_767_225_600_000
BEFORE, UNTIL, AFTER = "2026-01-01T00:00:00.000Z", "2026-01-01T00:00:01.000Z", "2026-01-01T00:00:01.001Z"


class Kafka(MemoryTransport):
    """The twin, which can be away."""

    def __init__(self, *, is_away: bool = False) -> None:
        super().__init__()
        self.is_away = is_away

    async def publish(self, topic: Topic, records: Sequence[Record], timestamp_ms: int) -> Stored:
        """Store or refuse."""
        if self.is_away:
            raise Unavailable("away")
        return await super().publish(topic, records, timestamp_ms)


def record(user: str, received_at: str = BEFORE) -> Record:
    """Make the record of an event of a user."""
    meta = f'{{"project_id":"prj","received_at":"{received_at}"}}'
    return Record(b"k", f'{{"event":{{"app_user_id":"{user}"}},"meta":{meta}}}'.encode())


def open_log(folder: Path) -> LocalLog:
    """Make a spool."""
    return LocalLog(folder, KEYS, bytes_max=64 * 2**20)


def publisher(root: Path, kafka: Kafka, known: KnownErased) -> FallbackPublisher:
    """Make a publisher, as a process would."""
    breaker = Breaker()
    return FallbackPublisher(kafka, Spools(root, KEYS, open_log, breaker, known), breaker)


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


def left_in(folder: Path) -> list[bytes]:
    """Return the values of what waits in a spool."""
    return [each.value for each in spool_view.records(folder, KEYS) if isinstance(each, Delivered)]


def values(*records: Record | Delivered) -> list[bytes]:
    """Reduce to the values."""
    return [each.value for each in records]


async def leave(folder: Path, *records: Record) -> None:
    """Fill a spool as a process would that died, each record in a chunk of its own."""
    log = open_log(folder)
    await log.start()
    for number, each in enumerate(records):
        await log.publish(Topic.EVENTS, [each], NOW_MS + number)
    await log.close()


def test_the_drain_moves_nothing_about_the_erased(tmp_path: Path) -> None:
    """What came later moves as all others do, and each record has exactly one fate."""

    async def story() -> None:
        await leave(tmp_path / "0", record("ann"), record("bob"), record("ann", AFTER), record("ann"))
        kafka, known = Kafka(), KnownErased()
        known.erased.add("prj", [subject_of("ann")], UNTIL)
        known.told()
        edge = publisher(tmp_path, kafka, known)
        await edge.start()
        await until(lambda: edge.spool_state().waiting == 0)
        state = edge.spool_state()
        await edge.close()
        assert values(*kafka.records[Topic.EVENTS]) == values(record("bob"), record("ann", AFTER))
        assert (state.stored, state.drained, state.erased, state.set_aside) == (4, 2, 2, 0)
        assert list(spool_view.faults(tmp_path / "0", KEYS)) == []

    run(story)


def test_nothing_old_moves_before_it_is_known_who_is_erased(tmp_path: Path) -> None:
    """The drain waits for it."""

    async def story() -> None:
        await leave(tmp_path / "0", record("ann"), record("bob"))
        kafka, known = Kafka(), KnownErased()
        edge = publisher(tmp_path, kafka, known)
        await edge.start()
        await edge.publish(Topic.EVENTS, [record("cyd")], NOW_MS)
        await asyncio.sleep(0)
        before = values(*kafka.records[Topic.EVENTS])
        known.erased.add("prj", [subject_of("ann")], UNTIL)
        known.told()
        await until(lambda: edge.spool_state().waiting == 0)
        await edge.close()
        assert before == values(record("cyd"))
        assert values(*kafka.records[Topic.EVENTS]) == values(record("cyd"), record("bob"))

    run(story)


def test_while_kafka_is_away_every_spool_is_gone_through(tmp_path: Path) -> None:
    """The process's own and those that nobody holds; one that another process holds is left to that."""

    async def story() -> None:
        for number in (1, 2, 3):
            await leave(tmp_path / str(number), record("ann"), record("bob"))
        held = open_log(tmp_path / "3")
        await held.start()
        kafka, known = Kafka(is_away=True), KnownErased()
        edge = publisher(tmp_path, kafka, known)
        await edge.start()
        await edge.publish(Topic.EVENTS, [record("ann"), record("bob"), record("ann", AFTER)], NOW_MS)
        known.erased.add("prj", [subject_of("ann")], UNTIL)
        known.told()
        erased = await edge.erase(known.covers)
        again = await edge.erase(known.covers)
        await edge.close()
        await held.close()
        assert (erased, again) == (3, 0)
        assert left_in(tmp_path / "0") == values(record("bob"), record("ann", AFTER))
        assert left_in(tmp_path / "1") == left_in(tmp_path / "2") == values(record("bob"))
        assert left_in(tmp_path / "3") == values(record("ann"), record("bob"))

    run(story)


def test_a_spool_of_erased_records_alone_is_empty(tmp_path: Path) -> None:
    """Nothing waits in it, and what comes next is drained over the places that were left."""

    async def story() -> None:
        kafka, known = Kafka(is_away=True), KnownErased()
        known.told()
        edge = publisher(tmp_path, kafka, known)
        await edge.start()
        await edge.publish(Topic.EVENTS, [record("ann"), record("ann")], NOW_MS)
        known.erased.add("prj", [subject_of("ann")], UNTIL)
        await edge.erase(known.covers)
        emptied = edge.spool_state()
        await edge.publish(Topic.EVENTS, [record("bob")], NOW_MS)
        kafka.is_away = False
        await until(lambda: edge.spool_state().waiting == 0)
        drained = edge.spool_state()
        await edge.close()
        assert (emptied.waiting, emptied.erased, emptied.oldest_age_ms) == (0, 2, 0)
        assert (drained.stored, drained.drained, drained.erased) == (3, 1, 2)
        assert values(*kafka.records[Topic.EVENTS]) == values(record("bob"))
        assert left_in(tmp_path / "0") == []

    run(story)
