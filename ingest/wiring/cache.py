"""The way to Valkey, which both surfaces of a process share."""

from ingest.clock import Clock
from ingest.counters.cache import Cache
from ingest.counters.connect import connect
from ingest.settings import Settings


def open_cache(settings: Settings, clock: Clock) -> Cache | None:
    """Return the way to Valkey, None where it is not configured; nothing is connected yet."""
    if settings.redis_url is None:
        return None
    return Cache(connect(settings.redis_url, network_private=settings.redis_network_private), clock)
