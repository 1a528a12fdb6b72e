"""Where the parts are put together: this module alone names concrete classes."""

import atexit
from importlib.metadata import version
from pathlib import Path
from typing import Final

import structlog

from ingest.clock import Clock, SystemClock
from ingest.counters.cache import Cache
from ingest.counters.connect import connect
from ingest.edge.agent import warm
from ingest.edge.app import surface
from ingest.edge.client import TrustedProxies
from ingest.edge.collect import BodyLimits, Collect
from ingest.edge.in_flight import InFlight
from ingest.edge.protocol import ConnectionLimits, protocol_class
from ingest.edge.region import Regions
from ingest.edge.server import public_server
from ingest.edge.worker import Worker, announce_kills
from ingest.pipeline.request import Limits
from ingest.registry.rate import EventRate
from ingest.registry.snapshot import Registry, Snapshot, unconfigured
from ingest.registry.toml_file import TomlRegistry
from ingest.settings import Settings, warnings
from ingest.telemetry.catalog import OTHER
from ingest.telemetry.log import Log, configure
from ingest.telemetry.metrics import Figures
from ingest.telemetry.sentry import start as start_sentry
from ingest.transport.breaker import Breaker
from ingest.transport.contract import ConfigurationError, Source, Topic
from ingest.transport.fallback import FallbackPublisher
from ingest.transport.files import private_folder
from ingest.transport.kafka.connection import Connection
from ingest.transport.kafka.publisher import KafkaPublisher
from ingest.transport.kafka.source import KafkaSource
from ingest.transport.kafka.topics import TopicPlan
from ingest.transport.local_log import LocalLog
from ingest.transport.local_source import LocalLogSource
from ingest.transport.retention import RETENTION_MS
from ingest.transport.sealed import SealKeys
from ingest.transport.spools import Spools

LOG_FOLDER: Final = "log"
SPOOL_FOLDER: Final = "spool"
SPOOL_EXPIRING: Final = (Topic.FORWARD, Topic.FORWARD_PARKED)
"""Topics whose records may hold device identifiers: in the spool too they live no longer than allowed."""

KEY_FILE: Final = "spool.key"
_DRAIN_SHARE: Final = 0.75  # of the time to stop, for the answers in flight
_STOP_SHARE: Final = 0.9  # of it, for those and the transport; the rest is for the end of the process itself

_log = structlog.get_logger(__name__)


def kafka_connection(settings: Settings) -> Connection:
    """Return how to reach the configured brokers. Only to be asked where there are some."""
    assert settings.kafka_bootstrap is not None
    return Connection(
        bootstrap=settings.kafka_bootstrap,
        protocol=settings.kafka_security_protocol,
        sasl_mechanism=settings.kafka_sasl_mechanism,
        sasl_username=settings.kafka_sasl_username,
        sasl_password=settings.kafka_sasl_password.reveal() if settings.kafka_sasl_password else None,
        ssl_cafile=str(settings.kafka_ssl_cafile) if settings.kafka_ssl_cafile else None,
    )


def topic_plan(settings: Settings) -> TopicPlan:
    """Return how topics are named, made and checked."""
    return TopicPlan(settings.topic_prefix, settings.topic_partitions, settings.kafka_allow_single_copy)


def open_cache(settings: Settings, clock: Clock) -> Cache | None:
    """Return the way to Valkey, None where none is configured. Nothing is connected yet."""
    if settings.redis_url is None:
        return None
    return Cache(connect(settings.redis_url, network_private=settings.redis_network_private), clock)


def seal_keys(settings: Settings) -> SealKeys:
    """Return the keys of the local log: the configured ones, else those that `ingest dev` keeps in the data folder."""
    if settings.spool_key is not None:
        return SealKeys.parse(settings.spool_key.reveal())
    path = key_path(settings)
    if not path.is_file():
        raise ConfigurationError(f"INGEST_SPOOL_KEY is not set, and there is no {path}")
    return SealKeys.parse(path.read_text(encoding="ascii"))


def key_path(settings: Settings) -> Path:
    """Return where `ingest dev` keeps the key that it generated."""
    return settings.data_dir / KEY_FILE


def kafka_publisher(settings: Settings) -> KafkaPublisher:
    """Return the way to Kafka alone. Only to be asked where there are brokers."""
    return KafkaPublisher(
        kafka_connection(settings),
        topic_plan(settings),
        ack_deadline_ms=settings.ack_deadline_ms,
        stall_ms=settings.stall_ms,
    )


def open_spool(settings: Settings, keys: SealKeys, folder: Path) -> LocalLog:
    """Return the log of one spool."""
    return LocalLog(
        folder,
        keys,
        bytes_max=settings.spool_bytes_max // settings.workers,
        retention_ms={topic: RETENTION_MS[topic] for topic in SPOOL_EXPIRING},
        ack_deadline_ms=settings.ack_deadline_ms,
    )


def open_fallback(settings: Settings) -> FallbackPublisher:
    """Return the transport of an edge with brokers: Kafka, and the spool while that is away."""
    keys, breaker = seal_keys(settings), Breaker()
    root = settings.data_dir / SPOOL_FOLDER
    spools = Spools(root, keys, lambda folder: open_spool(settings, keys, folder), breaker)
    return FallbackPublisher(kafka_publisher(settings), spools, breaker)


def open_log_transport(settings: Settings) -> LocalLog:
    """Return the transport of an edge without brokers: the local log."""
    return LocalLog(
        settings.data_dir / LOG_FOLDER,
        seal_keys(settings),
        bytes_max=settings.spool_bytes_max,
        retention_ms=RETENTION_MS,
        ack_deadline_ms=settings.ack_deadline_ms,
    )


def open_source(settings: Settings, topic: Topic, group: str | None) -> Source:
    """Return a reader of one topic from where the edge stores records in the end: Kafka, else the local log."""
    if settings.kafka_bootstrap is not None:
        return KafkaSource(kafka_connection(settings), topic_plan(settings).name(topic), topic, group=group)
    return LocalLogSource(settings.data_dir / LOG_FOLDER, seal_keys(settings), topic, group)


def open_log(settings: Settings) -> Log:
    """Set up the log of a serving process, with crash reports where they are configured."""
    if settings.sentry_dsn is None:
        return configure(settings.log_level)
    sentry = start_sentry(settings.sentry_dsn.reveal(), f"ingest-edge@{version('ingest-edge')}")
    atexit.register(sentry.close)
    return configure(settings.log_level, report=sentry.report)


def open_data_dir(settings: Settings) -> None:
    """Make the data folder, for this user alone. Raises `ConfigurationError`."""
    try:
        private_folder(settings.data_dir)
    except OSError as error:
        raise ConfigurationError(f"INGEST_DATA_DIR cannot be used: {error}") from error


def build_worker(settings: Settings) -> Worker:
    """Put one serving process together. Raises `ConfigurationError`."""
    open_data_dir(settings)
    clock, figures, log = SystemClock(), Figures(), open_log(settings)
    rate = EventRate(share=settings.workers)
    registry = _registry(settings, clock, rate)
    fallback = open_fallback(settings) if settings.kafka_bootstrap is not None else None
    publisher = fallback or open_log_transport(settings)
    regions = Regions(settings.geoip_path)
    agents = warm()
    for problem in (*regions.problems(), *agents.problems(), *warnings(settings)):
        _log.warning("start_problem", problem=problem)
    in_flight = InFlight(
        requests_max=settings.in_flight_requests_max,
        bytes_max=settings.in_flight_bytes_max,
        queue_s_max=settings.queue_ms_max / 1000,
    )
    collect = Collect(
        registry=registry,
        publisher=publisher,
        regions=regions,
        agents=agents,
        trusted=TrustedProxies(settings.trusted_proxies),
        rate=rate,
        in_flight=in_flight,
        body_limits=BodyLimits(settings.body_bytes_max, settings.body_inflated_bytes_max, settings.body_timeout_ms),
        limits=Limits(settings.events_per_batch_max, settings.event_bytes_max, settings.nesting_max),
        clock=clock,
        figures=figures,
        log=log.requests,
    )
    limits = ConnectionLimits(settings.header_bytes_max, settings.header_timeout_ms, settings.connections_max)
    server = public_server(
        surface(collect, figures, log.requests),
        protocol_class(
            limits,
            figures.refused,
            lambda request_id, code: log.requests.write_plain(request_id, OTHER, code.value.status, 0.0, code.name),
        ),
        keep_alive_ms=settings.keep_alive_timeout_ms,
        drain_ms=int(settings.drain_timeout_ms * _DRAIN_SHARE),
    )
    stop_ms = int(settings.drain_timeout_ms * _STOP_SHARE)
    worker = Worker(server, registry, publisher, regions, in_flight, figures, log, stop_ms)
    if fallback is not None:
        worker.spool_state, worker.hurry = fallback.spool_state, fallback.hurry
    return worker


def _registry(settings: Settings, clock: SystemClock, rate: EventRate) -> Registry:
    if settings.apps_file is None:
        return unconfigured()

    def on_change(old: Snapshot, new: Snapshot) -> None:
        announce_kills(old, new)
        rate.retain(new.apps)
        _log.info("registry_loaded", apps=len(new.apps), version=new.version)

    return TomlRegistry(settings.apps_file, clock, on_change)
