"""Caches for tests: patient ones, because what is tried is what they do and not how fast the machine is."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ingest.clock import Clock
from ingest.counters.cache import Cache
from ingest.counters.connect import connect
from ingest.setting import Secret

PATIENT_S = 20.0


@asynccontextmanager
async def open_cache(url: str, clock: Clock, wait_s: float = PATIENT_S) -> AsyncIterator[Cache]:
    """Make a cache over the Valkey at `url` and close it at the end."""
    cache = Cache(connect(Secret(url), network_private=True, wait_s=wait_s), clock, wait_s=wait_s)
    try:
        yield cache
    finally:
        await cache.close()
