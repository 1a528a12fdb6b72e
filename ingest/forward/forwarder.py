"""Brings conversions to their ends: sent, skipped, refused or expired; what has none yet is parked."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import random
from typing import Final

from ingest.clock import Clock
from ingest.conversion import Platform
from ingest.forward.decide import Hold, Open, Standing, Tokens, shape, standing
from ingest.forward.deliver import Delivery, Ready, Trip
from ingest.forward.destination import Destination
from ingest.forward.job import Job
from ingest.forward.ledger import Ledger
from ingest.forward.outcome import Fate, Outcome, Skip
from ingest.forward.person import People
from ingest.forward.platforms.contract import PlatformApi
from ingest.registry.snapshot import Snapshot

TRIP_MS: Final = 5_000
"""Time in which a call that fails is made again; after it, what is left is parked, so that nobody waits for it."""


class Forwarder:
    """Forwards jobs of any topic. `destinations` are those that were sent to since the start."""

    def __init__(
        self,
        *,
        registry: Callable[[], Snapshot],
        apis: Mapping[Platform, PlatformApi],
        tokens: Tokens,
        people: People,
        ledger: Ledger,
        delivery: Delivery,
        clock: Clock,
        jitter: Callable[[], float] = random,
    ) -> None:
        self._registry = registry
        self._apis = apis
        self._tokens = tokens
        self._people = people
        self._ledger = ledger
        self._delivery = delivery
        self._clock = clock
        self._jitter = jitter
        self.destinations: dict[tuple[str, Platform], Destination] = {}

    async def forward(self, jobs: Sequence[Job], *, probing: bool = False) -> list[Job]:
        """Bring jobs to their ends and return those that have none yet. Raises `Away`.

        Only who is `probing` waits for a paused destination to answer, once its pause is over.
        """
        by_key = {job.key: job for job in jobs}
        keys = await self._ledger.open(by_key)
        with self._ledger.under_way(keys):
            by_destination: dict[tuple[str, Platform], list[Job]] = {}
            for key, job in by_key.items():
                if key in keys:
                    by_destination.setdefault((key.app_id, key.platform), []).append(job)
            ready, left = await self._ready(by_destination, probing=probing)
            # All end before an error of one is raised: what is on the wire is not abandoned.
            ends = await asyncio.gather(*(self._send(*each, probing=probing) for each in ready), return_exceptions=True)
            await self._ledger.write()
        for end in ends:
            if isinstance(end, BaseException):
                raise end
            left += end
        return left

    def may_try(self, app_id: str, platform: Platform) -> bool:
        """Tell whether anything could be sent there now by who is probing, or would be skipped."""
        to = self._standing(app_id, platform)
        if isinstance(to, Skip):
            return True
        destination = self._destination(app_id, platform, to)
        return destination.room(probing=True) > 0 and destination.asked_ms() == 0

    async def _ready(
        self, by_destination: Mapping[tuple[str, Platform], list[Job]], *, probing: bool
    ) -> tuple[list[tuple[Destination, list[Ready]]], list[Job]]:
        """Return for each destination the events that are to be sent, and the jobs that have to wait; skip the rest."""
        left: list[Job] = []
        open_: list[tuple[Open, list[Job]]] = []
        for (app_id, platform), jobs in by_destination.items():
            to = self._standing(app_id, platform)
            if isinstance(to, Skip):
                self._ledger.note([job.key for job in jobs], Outcome(Fate.SKIPPED, to))
            elif self._destination(app_id, platform, to).room(probing=probing) > 0 and isinstance(to, Open):
                open_.append((to, jobs))
            else:
                left += jobs
        people = iter(await self._people.of([job.record for _, jobs in open_ for job in jobs]))
        now_ms = self._clock.now_ms()
        ready: list[tuple[Destination, list[Ready]]] = []
        for to, jobs in open_:
            shaped = [(job, shape(job, to, next(people), now_ms)) for job in jobs]
            for job, event in shaped:
                if isinstance(event, Skip):
                    self._ledger.note((job.key,), Outcome(Fate.SKIPPED, event))
            events = [Ready(job, event) for job, event in shaped if isinstance(event, bytes)]
            ready.append((self._destination(to.app.id, to.api.platform, to), events))
        return ready, left

    async def _send(self, destination: Destination, ready: Sequence[Ready], *, probing: bool) -> list[Job]:
        standing_now = partial(self._standing, destination.app_id, destination.platform)
        until_ms = self._clock.monotonic_ms() + TRIP_MS
        return await self._delivery.send(Trip(destination, standing_now, until_ms, probing), ready)

    def _standing(self, app_id: str, platform: Platform) -> Standing:
        return standing(app_id, platform, self._registry(), self._apis, self._tokens)

    def _destination(self, app_id: str, platform: Platform, to: Open | Hold) -> Destination:
        """Return a destination that knows how it stands with it now."""
        found = self.destinations.get((app_id, platform))
        if found is None:
            found = self.destinations[app_id, platform] = Destination(app_id, platform, self._clock, self._jitter)
        if isinstance(to, Open):
            found.held = ""
            found.sees(to.token)
        else:
            found.held = to.reason
        return found
