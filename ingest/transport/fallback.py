"""Kafka while it acknowledges, the spool while it does not: each batch is answered with the promise that holds for it.

    publish ─▶ breaker closed: Kafka ── acknowledged ──▶ replicated
                  │                └── not in time ─▶ breaker opens
                  └─ open ─▶ spool ── synced ──▶ spooled ─ ─ drain ─ ─▶ Kafka

A batch that Kafka did not acknowledge may have reached it all the same; then it is there twice after the drain, and
consumers drop the repeat. What was spooled comes to Kafka behind records that were received later, so order within a
key holds only for records that took the same way.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final, Protocol

from ingest.event import Record
from ingest.transport.breaker import Breaker
from ingest.transport.contract import Health, Publisher, SpoolState, Stored, Topic, Unavailable
from ingest.transport.log_format import Covers
from ingest.transport.spools import Spools

CLOSE_S: Final = 2.0
"""Longest wait at the end for publishes that are still on their way into the spool."""


class Kafka(Publisher, Protocol):
    """A publisher that can be told to wait no longer."""

    def give_up(self) -> None:
        """Refuse whatever waits as `Unavailable` at once, and take nothing more."""


class FallbackPublisher:
    """A `Publisher` over `kafka` and the spools of this machine."""

    def __init__(self, kafka: Kafka, spools: Spools, breaker: Breaker) -> None:
        self._kafka = kafka
        self._spools = spools
        self._breaker = breaker
        self._publishing = 0
        self._closing = False
        self._idle = asyncio.Event()

    async def start(self) -> None:
        """Take a spool, begin to drain what lies there, and connect to Kafka.

        Raises `ConfigurationError` as both do. Brokers that are away are no error: events are spooled meanwhile.
        """
        await self._spools.start(self._kafka)
        await self._kafka.start()
        if not (health := self._kafka.health()).ok:
            self._breaker.trip(health.reason)

    async def publish(self, topic: Topic, records: Sequence[Record], timestamp_ms: int) -> Stored:
        """Store all `records` of one receipt, on Kafka or in the spool. Raises `Unavailable` if neither takes them."""
        self._publishing += 1
        try:
            if not self._breaker.is_open:
                try:
                    return await self._kafka.publish(topic, records, timestamp_ms)
                except Unavailable as error:
                    self._breaker.trip(str(error))
            return await self._spools.publish(topic, records, timestamp_ms)
        finally:
            self._publishing -= 1
            if self._closing:
                self._idle.set()

    def health(self) -> Health:
        """Tell whether events are stored, on Kafka or in the spool: only with neither no traffic should come."""
        kafka, spool = self._kafka.health(), self._spools.health()
        pending = kafka.pending_records + spool.pending_records
        age_ms = max(kafka.pending_age_ms, spool.pending_age_ms)
        if not self._breaker.is_open:
            return Health(ok=True, reason=spool.reason, pending_records=pending, pending_age_ms=age_ms)
        reason = f"events are spooled: {self._breaker.reason}"
        return Health(spool.ok, reason if spool.ok else f"{reason}; {spool.reason}", pending, age_ms)

    def spool_state(self) -> SpoolState:
        """Tell what lies in the spools of this process, and whether they are in use."""
        return self._spools.state()._replace(breaker_open=self._breaker.is_open, trips=self._breaker.trips_total)

    async def erase(self, covers: Covers) -> int:
        """Take what `covers` holds for out of the spools; return how many records went. Raises as `Spools.erase`."""
        return await self._spools.erase(covers)

    def hurry(self) -> None:
        """Wait for Kafka no longer: whatever waits for it goes to the spool at once."""
        self._breaker.trip("the process is stopping")
        self._kafka.give_up()

    async def close(self) -> None:
        """Store what was published before, on Kafka or in the spool, and release everything."""
        self._closing = True
        await self._spools.stop_draining()
        await self._kafka.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                while self._publishing:
                    self._idle.clear()
                    await self._idle.wait()
        await self._spools.close()
