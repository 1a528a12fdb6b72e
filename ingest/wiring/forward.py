"""The forwarding process, put together from its parts."""

import os
import secrets
import socket
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from ingest.clock import SystemClock
from ingest.consume.dead_letter import DeadLetters
from ingest.consume.figures import lane_samples
from ingest.consume.lanes import Lane, Lanes
from ingest.consume.loop import Loop
from ingest.consume.step import Step
from ingest.conversion import Platform
from ingest.db.database import Database
from ingest.forward.backlog import Backlog
from ingest.forward.caller import HttpCaller
from ingest.forward.delayed import DelayedSource
from ingest.forward.deliver import Delivery
from ingest.forward.figures import ForwardFigures
from ingest.forward.forwarder import Forwarder
from ingest.forward.ledger import Ledger
from ingest.forward.park import ParkingLot
from ingest.forward.platforms.contract import PlatformApi
from ingest.forward.platforms.meta import MetaConversions
from ingest.forward.platforms.tiktok import TikTokEvents
from ingest.forward.reporter import Reporter
from ingest.forward.steps import ForwardStep, ParkedStep
from ingest.forward.tables import DeliveryTable, KnownPeople
from ingest.forward.tokens import VaultTokens
from ingest.forward.worker import ForwardWorker
from ingest.registry.database import DatabaseRegistry
from ingest.settings import Settings
from ingest.telemetry.metric import Process
from ingest.telemetry.snapshot import Sample
from ingest.telemetry.watch import Watch
from ingest.transport.contract import Publisher, Source, Topic
from ingest.transport.forget import LogForgetter
from ingest.transport.local_log import LocalLog
from ingest.transport.local_source import LocalLogSource
from ingest.transport.retention import RETENTION_MS
from ingest.wiring.admin import Watched
from ingest.wiring.transport import (
    FORWARD_GROUP,
    PARKED_FOLDER,
    kafka_publisher,
    open_data_dir,
    open_source,
    seal_keys,
    watch_brokers,
)
from ingest.wiring.vault import vault_keys

CONNECTIONS: Final = 5
DEADLINE_MS: Final = 10_000
RECORDS_MAX: Final = 2_000
"""Records at work at once: so many conversions may be sent twice by processes that do not know of each other."""

PARKED_GROUP: Final = f"{FORWARD_GROUP}-parked"
REGISTRY_COPY: Final = "forward-registry.json"


class Forwarding(NamedTuple):
    """The parts of the process: begun in this order, ended in the reverse one."""

    database: Database
    watched: Watched
    registry: DatabaseRegistry
    tokens: VaultTokens
    publisher: Publisher
    forgetting: LogForgetter | None
    caller: HttpCaller
    worker: ForwardWorker


def platforms_of(settings: Settings) -> dict[Platform, PlatformApi]:
    """Return what is known of each platform."""
    apis: tuple[PlatformApi, ...] = (
        MetaConversions(settings.meta_url, settings.meta_api_version),
        TikTokEvents(settings.tiktok_url),
    )
    return {api.platform: api for api in apis}


def build_forward(settings: Settings) -> Forwarding:
    """Put the forwarding process together. Only to be asked where there is a database."""
    assert settings.postgres_dsn is not None
    open_data_dir(settings)
    clock, keys, dsn = SystemClock(), seal_keys(settings), settings.postgres_dsn.reveal()
    database = Database(dsn, "ingest-forward", connections_max=CONNECTIONS, deadline_ms=DEADLINE_MS)
    registry = DatabaseRegistry(dsn, settings.data_dir / REGISTRY_COPY, clock, lambda _old, _new: None)
    tokens = VaultTokens(database, vault_keys(settings))
    figures = ForwardFigures()
    ledger = Ledger(DeliveryTable(database), figures.count)
    caller = HttpCaller(call_s=settings.forward_call_timeout_ms / 1000)
    forwarder = Forwarder(
        registry=registry.current,
        apis=platforms_of(settings),
        tokens=tokens,
        people=KnownPeople(database),
        ledger=ledger,
        delivery=Delivery(caller, ledger, clock),
        clock=clock,
    )
    publisher, parked_source, forgetting = _parking(settings)
    source = open_source(settings, Topic.FORWARD, FORWARD_GROUP, delete_done=True, finishes=True)
    parked = DelayedSource(parked_source, clock, delay_ms=settings.forward_parked_look_ms)
    backlog = Backlog(lambda: lanes.lag(Topic.FORWARD), lambda: lanes.lag(Topic.FORWARD_PARKED))
    lot = ParkingLot(publisher, keys, ledger, clock, records_max=settings.forward_parked_records_max, backlog=backlog)
    letters = DeadLetters(publisher, keys, FORWARD_GROUP, clock, with_content=False)

    def lane(topic: Topic, of: Source, step: Step) -> Lane:
        return Lane(topic, of, Loop(of, step, letters, records_max=RECORDS_MAX))

    lanes = Lanes(
        [
            lane(Topic.FORWARD, source, ForwardStep(forwarder, lot, clock)),
            lane(Topic.FORWARD_PARKED, parked, ParkedStep(forwarder, lot, ledger, clock)),
        ]
    )
    reporter = Reporter(database, forwarder.destinations, registry.current, backlog, _worker_id())
    worker = ForwardWorker(lanes, reporter, (tokens.follow,), figures.fates)

    def samples() -> Iterator[Sample]:
        yield from lane_samples(lanes, clock)
        yield from figures.samples(forwarder.destinations.values(), backlog.parked)

    watches: tuple[Watch[Any], ...] = (Watch("database", database.ping), *watch_brokers(settings))
    watched = Watched(Process.FORWARD, lanes.reasons, samples, watches)
    return Forwarding(database, watched, registry, tokens, publisher, forgetting, caller, worker)


def _parking(settings: Settings) -> tuple[Publisher, Source, LogForgetter | None]:
    """Return where conversions are parked, how they are read there, and what deletes them there if nobody else does."""
    if settings.kafka_bootstrap is not None:
        source = open_source(settings, Topic.FORWARD_PARKED, PARKED_GROUP, delete_done=True, finishes=True)
        return kafka_publisher(settings), source, None
    folder, keys = settings.data_dir / PARKED_FOLDER, seal_keys(settings)
    log = LocalLog(
        folder,
        keys,
        bytes_max=settings.spool_bytes_max,
        retention_ms=RETENTION_MS,
        ack_deadline_ms=settings.ack_deadline_ms,
    )
    reader = LocalLogSource(folder, keys, Topic.FORWARD_PARKED, PARKED_GROUP)
    return log, reader, LogForgetter(log, folder, {Topic.FORWARD_PARKED: PARKED_GROUP})


def _worker_id() -> str:
    """Return a name by which this process is known while it runs."""
    return f"{socket.gethostname()[:64]}-{os.getpid()}-{secrets.token_hex(3)}"
