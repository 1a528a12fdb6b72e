"""A serving process, put together from its parts."""

from typing import Final

import structlog
from starlette.types import ASGIApp

from ingest.clock import SystemClock
from ingest.counters.cache import Cache
from ingest.counters.event_rate import SharedEventRate
from ingest.counters.service import CountersService
from ingest.db.database import Database
from ingest.edge.agent import Agents, warm
from ingest.edge.app import Calls, surface
from ingest.edge.click import Clicks
from ingest.edge.client import TrustedProxies
from ingest.edge.collect import BodyLimits, Collect
from ingest.edge.erasures import Erase, Erasures
from ingest.edge.in_flight import InFlight
from ingest.edge.intake import INTAKES
from ingest.edge.protocol import ConnectionLimits, protocol_class
from ingest.edge.region import Regions
from ingest.edge.remote_config import RemoteConfigs
from ingest.edge.server import public_server
from ingest.edge.tls import Certificate
from ingest.edge.worker import Companion, Worker, announce_kills
from ingest.pipeline.request import Limits
from ingest.registry.database import DatabaseRegistry
from ingest.registry.rate import EventRate
from ingest.registry.snapshot import Registry, Snapshot, unconfigured
from ingest.registry.toml_file import TomlRegistry
from ingest.settings import Settings
from ingest.settings_rules import warnings
from ingest.telemetry.metric import OTHER
from ingest.telemetry.metrics import Figures
from ingest.transport.contract import Topic
from ingest.transport.fallback import FallbackPublisher
from ingest.transport.forget import LogForgetter
from ingest.transport.known_erased import KnownErased, nobody
from ingest.transport.local_log import LocalLog
from ingest.wiring.cache import open_cache
from ingest.wiring.log import open_log
from ingest.wiring.partner import Shared, build_partner_surface, partner_description
from ingest.wiring.transport import FORWARD_GROUP, LOG_FOLDER, open_data_dir, open_fallback, open_log_transport

REGISTRY_COPY: Final = "registry.json"
"""The registry as the database last told it, for a start while that is away."""

_DRAIN_SHARE: Final = 0.75  # of the time to stop, for the answers in flight
_STOP_SHARE: Final = 0.9  # of it, for those and the transport; the rest is for the end of the process itself

_log = structlog.get_logger(__name__)


def open_certificate(settings: Settings) -> Certificate | None:
    """Return the certificate of the public port, None where it speaks plain HTTP. Raises `ConfigurationError`."""
    if settings.tls_certificate_file is None or settings.tls_key_file is None:
        return None
    return Certificate(settings.tls_certificate_file, settings.tls_key_file)


def build_worker(settings: Settings) -> Worker:
    """Put one serving process together. Raises `ConfigurationError`."""
    certificate = open_certificate(settings)
    open_data_dir(settings)
    clock, figures, log = SystemClock(), Figures(), open_log(settings)
    rate = EventRate(share=settings.workers)
    registry = _registry(settings, clock, rate)
    known = KnownErased() if settings.postgres_dsn is not None else nobody()
    fallback = open_fallback(settings, known) if settings.kafka_bootstrap is not None else None
    publisher, forgetting = _transport(settings, fallback)
    regions = Regions(settings.geoip_path)
    agents = warm()
    for problem in (*regions.problems(), *agents.problems(), *warnings(settings)):
        _log.warning("start_problem", problem=problem)
    in_flight = _in_flight(settings)
    shared = Shared(
        registry=registry,
        publisher=publisher,
        regions=regions,
        trusted=TrustedProxies(settings.trusted_proxies),
        rate=rate,
        body_limits=BodyLimits(settings.body_bytes_max, settings.body_inflated_bytes_max, settings.body_timeout_ms),
        limits=Limits(settings.events_per_batch_max, settings.event_bytes_max, settings.nesting_max),
        clock=clock,
        figures=figures,
        log=log.requests,
    )
    collectors = {
        path: Collect(intake, **shared._asdict(), agents=agents, in_flight=in_flight)
        for path, intake in INTAKES.items()
    }
    clicks = _clicks(shared, agents, in_flight)
    companions: tuple[Companion, ...] = forgetting
    cache = open_cache(settings, clock)
    if cache is not None:
        event_rate = SharedEventRate(rate, cache, clock, workers=settings.workers)
        companions += (CountersService(cache, event_rate),)
    partners, over_database = _over_database(settings, shared, cache, known, publisher.erase)
    companions += over_database
    limits = ConnectionLimits(settings.header_bytes_max, settings.header_timeout_ms, settings.connections_max)
    server = public_server(
        surface(Calls(collectors, RemoteConfigs(registry), clicks), figures, log.requests, shared.trusted, partners),
        protocol_class(
            limits,
            figures.refused,
            lambda request_id, code: log.requests.write_plain(request_id, OTHER, code.value.status, 0.0, code.name),
        ),
        keep_alive_ms=settings.keep_alive_timeout_ms,
        drain_ms=int(settings.drain_timeout_ms * _DRAIN_SHARE),
        certificate=certificate,
    )
    stop_ms = int(settings.drain_timeout_ms * _STOP_SHARE)
    worker = Worker(
        server, registry, publisher, regions, in_flight, figures, log, stop_ms, companions, certificate=certificate
    )
    worker.openapi = partner_description(settings)
    if fallback is not None:
        worker.spool_state, worker.hurry = fallback.spool_state, fallback.hurry
    return worker


def _clicks(shared: Shared, agents: Agents, in_flight: InFlight) -> Clicks:
    return Clicks(
        registry=shared.registry,
        publisher=shared.publisher,
        regions=shared.regions,
        agents=agents,
        trusted=shared.trusted,
        rate=shared.rate,
        in_flight=in_flight,
        limits=shared.limits,
        clock=shared.clock,
        figures=shared.figures,
    )


def _in_flight(settings: Settings) -> InFlight:
    return InFlight(
        requests_max=settings.in_flight_requests_max,
        bytes_max=settings.in_flight_bytes_max,
        queue_s_max=settings.queue_ms_max / 1000,
    )


def _transport(
    settings: Settings, fallback: FallbackPublisher | None
) -> tuple[FallbackPublisher | LocalLog, tuple[Companion, ...]]:
    """Return where records go; with the local log also what deletes from it what was forwarded."""
    if fallback is not None:
        return fallback, ()
    log = open_log_transport(settings)
    return log, (LogForgetter(log, settings.data_dir / LOG_FOLDER, {Topic.FORWARD: FORWARD_GROUP}),)


def _over_database(
    settings: Settings, shared: Shared, cache: Cache | None, known: KnownErased, erase: Erase
) -> tuple[ASGIApp | None, tuple[Companion, ...]]:
    """Return the partner surface and what works on the one pool of the process; nothing where there is no database."""
    if settings.postgres_dsn is None:
        return None, ()
    database = Database(
        settings.postgres_dsn.reveal(), "ingest-edge", connections_max=settings.postgres_connections_max
    )
    partners, service = build_partner_surface(settings, shared, cache, database)
    return partners, (service, Erasures(database, known, erase))


def _registry(settings: Settings, clock: SystemClock, rate: EventRate) -> Registry:
    def on_change(old: Snapshot, new: Snapshot) -> None:
        announce_kills(old, new)
        if old.version != new.version:
            rate.retain(new.apps)
            _log.info("registry_loaded", apps=len(new.apps), version=new.version)

    if settings.postgres_dsn is not None:
        copy = settings.data_dir / REGISTRY_COPY
        return DatabaseRegistry(settings.postgres_dsn.reveal(), copy, clock, on_change)
    if settings.apps_file is not None:
        return TomlRegistry(settings.apps_file, clock, on_change)
    return unconfigured()
