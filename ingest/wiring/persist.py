"""The persisting process, put together from its parts."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from ingest.clock import SystemClock
from ingest.consume.dead_letter import DeadLetter, DeadLetters, reopen
from ingest.consume.lanes import Lane, Lanes
from ingest.consume.loop import Loop
from ingest.consume.step import Poison, Step
from ingest.db.database import Database
from ingest.db.queries.clicks import insert_clicks
from ingest.db.queries.skan import insert_postbacks
from ingest.persist.click import to_click
from ingest.persist.eraser import Eraser
from ingest.persist.erasures import ErasureReader
from ingest.persist.once import OnceWriter
from ingest.persist.retention import RetentionSchedule
from ingest.persist.skan import to_postback
from ingest.persist.skan_signature import SkanVerifier
from ingest.persist.statement import said_of_consent, said_of_properties
from ingest.persist.users import UserWriter
from ingest.persist.worker import PersistWorker
from ingest.persist.writer import CONSUMER, EventWriter
from ingest.settings import Settings
from ingest.telemetry.metric import Process
from ingest.telemetry.watch import Watch
from ingest.transport.contract import ConfigurationError, Delivered, Publisher, Source, Topic
from ingest.transport.local_log import LocalLog
from ingest.transport.local_source import LocalLogSource
from ingest.transport.log_format import DATABASE
from ingest.transport.retention import RETENTION_MS
from ingest.wiring.admin import Watched
from ingest.wiring.transport import (
    PARKED_FOLDER,
    kafka_publisher,
    open_data_dir,
    open_source,
    seal_keys,
    watch_brokers,
)

DEADLINE_MS: Final = 60_000
"""Longest time for the rows of one batch; a database that needs more is away."""

CONNECTIONS: Final = 9
"""One for each lane, for what is erased, what is old, and the question whether the database is there."""

GROUPS: Final = {
    Topic.EVENTS: CONSUMER,
    Topic.USER_PROPERTIES: f"{CONSUMER}-user-properties",
    Topic.CONSENT: f"{CONSUMER}-consent",
    Topic.CLICKS: f"{CONSUMER}-clicks",
    Topic.SKAN: f"{CONSUMER}-skan",
}
"""Consumer groups: one for each topic, so that the topics do not rebalance each other."""

POLL_RECORDS_MAX: Final = 1_000
POLL_WAIT_MS: Final = 3_000
DEAD_LETTERS_FOLDER: Final = "dead-letters"
"""Without Kafka the log in which this process sets records aside; that of the edge has another writer."""


class Writer(Step, Protocol):
    """A step that can be given again what was set aside."""

    async def replay(self, records: Sequence[Delivered]) -> Sequence[Poison]:
        """Do the step on records that were set aside, wherever the consumer has come since."""


class Persisting(NamedTuple):
    """The parts of the process: begun in this order, ended in the reverse one."""

    database: Database
    watched: Watched
    publisher: Publisher
    worker: PersistWorker
    retention: RetentionSchedule


def build_persist(settings: Settings, *, from_oldest: bool = False) -> Persisting:
    """Put the persisting process together. Only to be asked where there is a database.

    With `from_oldest` it reads all that the topics still hold, alone and without a position of its own.
    """
    assert settings.postgres_dsn is not None
    open_data_dir(settings)
    clock, keys = SystemClock(), seal_keys(settings)
    database = Database(
        settings.postgres_dsn.reveal(), "ingest-persist", connections_max=CONNECTIONS, deadline_ms=DEADLINE_MS
    )
    has_kafka = settings.kafka_bootstrap is not None
    publisher = kafka_publisher(settings) if has_kafka else _local_dead_letters(settings)
    letters = DeadLetters(publisher, keys, CONSUMER, clock)
    events = EventWriter(database, clock)
    writers: dict[Topic, Step] = {Topic.EVENTS: events, **_other_writers(database, settings)}

    def lane(topic: Topic, step: Step, group: str | None) -> Lane:
        source = open_source(settings, topic, group)
        return Lane(topic, source, Loop(source, step, letters))

    # Every process reads all erasures there are at each start: no group, and no position that could be lost.
    first = lane(Topic.ERASURES, ErasureReader(database), None) if has_kafka else None
    lanes = [lane(topic, writer, None if from_oldest else GROUPS[topic]) for topic, writer in writers.items()]
    eraser = Eraser(database, publisher if has_kafka else None, clock)
    retention = RetentionSchedule(database, settings.events_retention_days, clock)
    worker = PersistWorker(Lanes(lanes, first), eraser.run, lambda: events.written, clock)
    watches: tuple[Watch[Any], ...] = (Watch("database", database.ping), *watch_brokers(settings))
    watched = Watched(Process.PERSIST, lambda: _reasons(worker, publisher), worker.samples, watches)
    return Persisting(database, watched, publisher, worker, retention)


def _reasons(worker: PersistWorker, publisher: Publisher) -> list[str]:
    health = publisher.health()
    return [*worker.reasons(), *([] if health.ok else [health.reason])]


def _other_writers(database: Database, settings: Settings) -> dict[Topic, Writer]:
    """Return the writers of all topics but events. Raises `ConfigurationError`."""
    try:
        verifier = SkanVerifier(settings.skan_public_keys)
    except ValueError:
        raise ConfigurationError("INGEST_SKAN_PUBLIC_KEYS holds a key that is not on the curve P-256") from None
    return {
        Topic.USER_PROPERTIES: UserWriter(database, "user_properties", said_of_properties),
        Topic.CONSENT: UserWriter(database, "consents", said_of_consent),
        Topic.CLICKS: OnceWriter(database, to_click, insert_clicks),
        Topic.SKAN: OnceWriter(database, lambda record: to_postback(record, verifier), insert_postbacks),
    }


async def read_dead_letters(settings: Settings) -> list[DeadLetter]:
    """Return all dead letters that are kept, oldest first. Raises `Unavailable`."""
    found: list[Delivered] = []
    for source in _dead_letter_sources(settings):
        await source.start()
        try:
            while some := await source.poll(POLL_RECORDS_MAX, POLL_WAIT_MS):
                found += some
        finally:
            await source.close()
    found.sort(key=attrgetter("timestamp_ms"))
    return [msgspec.json.decode(each.value, type=DeadLetter) for each in found]


async def replay_dead_letters(settings: Settings, reason: str | None) -> tuple[int, int]:
    """Try the dead letters of this consumer again, with `reason` only those; return how many are rows, and are not."""
    assert settings.postgres_dsn is not None
    keys = seal_keys(settings)
    letters = [each for each in await read_dead_letters(settings) if each.consumer == CONSUMER and each.sealed]
    records = [reopen(each, keys) for each in letters if reason in {None, each.reason} and each.topic in GROUPS]
    database = Database(settings.postgres_dsn.reveal(), "ingest-persist", connections_max=1, deadline_ms=DEADLINE_MS)
    await database.open()
    try:
        events = EventWriter(database, SystemClock())
        writers: dict[Topic, Writer] = {Topic.EVENTS: events, **_other_writers(database, settings)}
        poison = [
            each
            for topic, writer in writers.items()
            for each in await writer.replay([record for record in records if record.topic is topic])
        ]
    finally:
        await database.close()
    return len(records) - len(poison), len(poison)


def _dead_letter_sources(settings: Settings) -> list[Source]:
    """Return readers of all dead letters: without Kafka each consumer has them in a log of its own."""
    if settings.kafka_bootstrap is not None:
        return [open_source(settings, Topic.DEAD_LETTERS, None)]
    folders = [settings.data_dir / name for name in (DEAD_LETTERS_FOLDER, PARKED_FOLDER)]
    keys = seal_keys(settings)
    return [LocalLogSource(each, keys, Topic.DEAD_LETTERS, None) for each in folders if (each / DATABASE).is_file()]


def _local_dead_letters(settings: Settings) -> LocalLog:
    return LocalLog(
        settings.data_dir / DEAD_LETTERS_FOLDER,
        seal_keys(settings),
        bytes_max=settings.spool_bytes_max,
        retention_ms=RETENTION_MS,
        ack_deadline_ms=settings.ack_deadline_ms,
    )
