"""The partner surface, put together from its parts."""

from collections.abc import Callable
from typing import NamedTuple

from starlette.types import ASGIApp

from ingest.clock import Clock
from ingest.counters.cache import Cache
from ingest.counters.idempotency import IdempotencyStore
from ingest.counters.memory_idempotency import MemoryIdempotency
from ingest.counters.redis_idempotency import RedisIdempotency
from ingest.counters.request_rate import RequestRate
from ingest.db.database import Database
from ingest.edge import answer
from ingest.edge.client import TrustedProxies
from ingest.edge.collect import BodyLimits
from ingest.edge.in_flight import InFlight
from ingest.edge.region import Regions
from ingest.partner.audit import Audit
from ingest.partner.authenticate import Authenticator
from ingest.partner.events import Events
from ingest.partner.keys import Keys
from ingest.partner.openapi import describe
from ingest.partner.places import Places
from ingest.partner.repeat import Repeats
from ingest.partner.request_log import PartnerRequestLog
from ingest.partner.service import PartnerService
from ingest.partner.surface import Doors, partner_surface
from ingest.partner.users import Users
from ingest.partner.verify import SecretVerifier
from ingest.partner.whoami import whoami
from ingest.pipeline.request import Limits
from ingest.registry.rate import EventRate
from ingest.registry.snapshot import Registry
from ingest.settings import Settings
from ingest.telemetry.metrics import Figures
from ingest.telemetry.request_log import RequestLog
from ingest.transport.contract import Publisher

REQUESTS_MAX = 256
"""Partner calls at work at once; they have bounds of their own, so that they take no place from SDKs."""


class Shared(NamedTuple):
    """What both surfaces of a process use."""

    registry: Registry
    publisher: Publisher
    regions: Regions
    trusted: TrustedProxies
    rate: EventRate
    body_limits: BodyLimits
    limits: Limits
    clock: Clock
    figures: Figures
    log: RequestLog


STRANGERS_MAX = 128
"""Calls at once of which it is not known yet who makes them."""


def build_partner_surface(
    settings: Settings, shared: Shared, cache: Cache | None, database: Database
) -> tuple[ASGIApp, PartnerService]:
    """Return the surface and what is begun and ended with it, `database` included."""
    verifier = SecretVerifier(shared.clock)
    request_log = PartnerRequestLog(database)
    store: IdempotencyStore = MemoryIdempotency(shared.clock) if cache is None else RedisIdempotency(cache)
    doors = Doors(
        authenticator=Authenticator(database, verifier),
        rate=RequestRate(cache),
        repeats=Repeats(store),
        strangers=InFlight(requests_max=STRANGERS_MAX, bytes_max=1),
        places=Places(InFlight(requests_max=REQUESTS_MAX, bytes_max=settings.in_flight_bytes_max)),
        body_limits=shared.body_limits,
        trusted=shared.trusted,
        regions=shared.regions,
    )
    events = Events(
        registry=shared.registry,
        publisher=shared.publisher,
        rate=shared.rate,
        limits=shared.limits,
        clock=shared.clock,
        figures=shared.figures,
    )
    keys, audit, users = Keys(database, verifier), Audit(database), Users(database)
    handlers = {
        "whoami": whoami,
        "takeEvents": events.take,
        "listApiKeys": keys.list_keys,
        "killApiKey": keys.kill,
        "rotateApiKey": keys.rotate,
        "revokeApiKey": keys.revoke,
        "listAuditEvents": audit.list_events,
        "readUserEvents": users.read_events,
        "eraseUser": users.erase,
        "readErasure": users.read_erasure,
    }
    surface = partner_surface(handlers, doors, shared.figures, shared.log, request_log)
    return surface, PartnerService(database, verifier, request_log)


def partner_description(settings: Settings) -> Callable[[], bytes] | None:
    """Return what tells programs about the partner surface, as JSON; None where there is none."""
    if settings.postgres_dsn is None:
        return None
    return lambda: answer.encode(describe())
