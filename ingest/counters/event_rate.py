"""One event rate per app over all workers and hosts, without a wait in any request.

Each process has the whole bucket of an app and charges it at once, as if it were alone. Once a second it tells the
others, by counters in Valkey, what it has charged, and charges what they have. So together they pass what one process
would, and what they pass more because they know of each other a second late is a debt that all of them pay back.
"""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import structlog
from redis.asyncio import Redis

from ingest.clock import Clock
from ingest.counters.cache import Cache, CacheAway
from ingest.registry.rate import EventRate

PERIOD_S: Final = 1.0
KEY_PREFIX: Final = "ingest:events:"
EPOCH_KEY: Final = "ingest:epoch"

_MINUTE_MS: Final = 60_000
_COUNTER_S: Final = 180  # its minute, the next one in which it is still read, and one for clocks that differ
_LOOKED_MS: Final = _MINUTE_MS  # not less: then what was charged before lies in another minute's counter

_log = structlog.get_logger(__name__)


class _Look(NamedTuple):
    """The counters of an app's last two minutes as they were seen last, and when this process last charged it."""

    minute: int
    current: int
    previous: int
    charged_ms: int

    def seen(self, minute: int) -> int | None:
        """Return what was seen of the counters of `minute` and of the one before, None where that is too long ago."""
        if self.minute == minute:
            return self.current + self.previous
        return self.current if self.minute == minute - 1 else None


class SharedEventRate:
    """Keeps the buckets of `rate` in step with those of other processes.

    While Valkey is away (`local`), and until it has answered first, this process has one of `workers` equal shares of
    every app's maximum. What was charged in that time is not told to the others later: the shares have divided the
    maximum already. Apps that this process has not charged for a minute are not looked at.
    """

    def __init__(self, rate: EventRate, cache: Cache, clock: Clock, *, workers: int) -> None:
        self.local = True
        self._rate = rate
        self._cache = cache
        self._clock = clock
        self._workers = workers
        self._looks: dict[str, _Look] = {}
        self._epoch = b""
        rate.set_share(workers)

    async def run(self) -> None:
        """Exchange once a second until cancelled."""
        while True:
            try:
                await self.exchange()
            except Exception as error:  # noqa: BLE001 - a bug here must not end the exchange for good, nor the limits
                _log.error("bug", error=error)
                self._turn(local=True)
            await asyncio.sleep(PERIOD_S)

    async def exchange(self) -> None:
        """Tell what was charged here since the last call, and charge what was charged elsewhere."""
        now_ms = self._clock.now_ms()
        minute = now_ms // _MINUTE_MS
        own = self._rate.pop_charges()
        if self.local:
            own.clear()
        charged_ms = {
            app: look.charged_ms for app, look in self._looks.items() if now_ms - look.charged_ms < _LOOKED_MS
        }
        charged_ms |= dict.fromkeys(own, now_ms)
        apps = list(charged_ms)
        try:
            epoch, totals = await self._cache.ask(lambda client: self._swap(client, own, apps, minute))
        except CacheAway:
            # Whether the charges arrived is not known; they are one second's at most, and not told again.
            self._turn(local=True)
            return
        self._turn(local=False)
        if epoch != self._epoch:  # Valkey has lost its counters, those of this process as well
            self._epoch = epoch
            self._looks = {
                app: look._replace(minute=minute, current=0, previous=0) for app, look in self._looks.items()
            }
        looks = {}
        for app, current, previous in zip(apps, totals, totals[len(apps) :], strict=False):
            self._take(app, minute, current - own.get(app, 0), previous, now_ms)
            looks[app] = _Look(minute, current, previous, charged_ms[app])
        self._looks = looks

    def _take(self, app: str, minute: int, current: int, previous: int, now_ms: int) -> None:
        """Charge what the counters, without what this process has just added, hold more than at the last look."""
        look = self._looks.get(app)
        seen = look.seen(minute) if look is not None else None
        if seen is not None:
            self._rate.take(app, current + previous - seen, self._clock.monotonic_ms())
        else:  # not looked at lately: as if the bucket had been full when the minute began
            self._rate.take(app, current, self._clock.monotonic_ms(), within_ms=now_ms % _MINUTE_MS)

    async def _swap(
        self, client: Redis, own: Mapping[str, int], apps: Sequence[str], minute: int
    ) -> tuple[bytes, list[int]]:
        """Add `own` and return the epoch and the totals of `apps`: those of `minute`, then those of the one before."""
        pipeline = client.pipeline(transaction=True)
        pipeline.set(EPOCH_KEY, uuid.uuid4().bytes, nx=True)
        for app, events in own.items():
            pipeline.incrby(_key(app, minute), events)
            pipeline.expire(_key(app, minute), _COUNTER_S)
        pipeline.mget([EPOCH_KEY, *(_key(app, when) for when in (minute, minute - 1) for app in apps)])
        answers: list[Any] = await pipeline.execute()
        epoch, *totals = answers[-1]
        return epoch, [int(total or 0) for total in totals]

    def _turn(self, *, local: bool) -> None:
        if local != self.local:
            self.local = local
            self._rate.set_share(self._workers if local else 1)
            if local:
                _log.warning("event_rate_local")
            else:
                _log.info("event_rate_shared")


def _key(app: str, minute: int) -> str:
    return f"{KEY_PREFIX}{app}:{minute}"
