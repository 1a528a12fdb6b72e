"""Sends the events of one destination: in small calls, some at once, split where one event spoils its neighbours.

What could not be sent in the time there is comes back, and is for another time.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from ingest.clock import Clock
from ingest.forward.caller import Caller
from ingest.forward.decide import Open, Standing
from ingest.forward.destination import WIDTH_MAX, Destination
from ingest.forward.job import Job, Key
from ingest.forward.ledger import Ledger
from ingest.forward.outcome import Fate, Outcome
from ingest.forward.platforms.contract import Accepted, Dead, Later, Refused

EVENTS_MAX: Final = 200
"""Events of one call: few enough that little is done twice after a crash, and that splitting stays cheap."""

BYTES_MAX: Final = 1_000_000
BACKOFF_MS: Final = 250

SENT: Final = Outcome(Fate.SENT)


class Ready(NamedTuple):
    """A job, and its event as the platform takes it."""

    job: Job
    event: bytes


class Trip(NamedTuple):
    """Where to, and until when (monotonic ms). `standing` tells whether the destination may still be sent to.

    `probing` may find out whether a paused destination answers again.
    """

    destination: Destination
    standing: Callable[[], Standing]
    until_ms: int
    probing: bool

    def room(self) -> int:
        """Return how many calls may be under way."""
        return self.destination.room(probing=self.probing)


class Delivery:
    """Sends what is ready. What `send` returns has not ended; everything else is in the ledger."""

    def __init__(
        self,
        caller: Caller,
        ledger: Ledger,
        clock: Clock,
        *,
        jitter: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._caller = caller
        self._ledger = ledger
        self._clock = clock
        self._jitter = jitter
        self._sleep = sleep

    async def send(self, trip: Trip, ready: Sequence[Ready]) -> list[Job]:
        """Send events and return the jobs that have not ended. Raises `Away` where outcomes could not be recorded."""
        calls = deque(_in_calls(ready))
        left: list[Job] = []

        async def work(number: int) -> None:
            while calls and number < trip.room():
                left.extend(await self._call(trip, calls.popleft()))

        # All end before an error of one is raised: what is on the wire is not abandoned.
        ends = await asyncio.gather(*map(work, range(min(len(calls), WIDTH_MAX))), return_exceptions=True)
        for end in ends:
            if end is not None:
                raise end
        return left + [each.job for call in calls for each in call]

    async def _call(self, trip: Trip, ready: Sequence[Ready]) -> list[Job]:
        """Send one call until it is answered for good; return the jobs that have not ended."""
        backoff_ms = BACKOFF_MS
        jobs = [each.job for each in ready]
        while True:
            if not await self._pause(trip, trip.destination.asked_ms()):
                return jobs
            to = trip.standing()
            if not isinstance(to, Open) or trip.room() == 0:
                return jobs
            call = to.api.call(to.app, to.token, [each.event for each in ready])
            match await self._caller.ask(to.api, call):
                case Accepted():
                    trip.destination.taken()
                    await self._ledger.record(_keys(ready), SENT)
                    return []
                case Refused(code) if len(ready) == 1:
                    trip.destination.refused(code)
                    await self._ledger.record(_keys(ready), Outcome(Fate.REFUSED, code))
                    return []
                case Refused():
                    half = len(ready) // 2
                    return await self._call(trip, ready[:half]) + await self._call(trip, ready[half:])
                case Dead(code):
                    trip.destination.stopped(code, to.token)
                    return jobs
                case Later(code, after_s, throttled):
                    trip.destination.failed(code, throttled=throttled, after_s=after_s)
                    pause_ms = max(trip.destination.asked_ms(), backoff_ms * (0.5 + self._jitter()))
                    if not await self._pause(trip, pause_ms):
                        return jobs
                    backoff_ms *= 2

    async def _pause(self, trip: Trip, pause_ms: float) -> bool:
        """Wait, unless the time there is would end before; tell whether it was waited."""
        if self._clock.monotonic_ms() + pause_ms > trip.until_ms:
            return pause_ms == 0
        if pause_ms:
            await self._sleep(pause_ms / 1000)
        return True


def _keys(ready: Sequence[Ready]) -> list[Key]:
    return [each.job.key for each in ready]


def _in_calls(ready: Sequence[Ready]) -> list[Sequence[Ready]]:
    """Cut what is ready into calls of at most `EVENTS_MAX` events and about `BYTES_MAX` bytes."""
    calls: list[list[Ready]] = [[]]
    size = 0
    for each in ready:
        size += len(each.event)
        if calls[-1] and (len(calls[-1]) >= EVENTS_MAX or size > BYTES_MAX):
            calls.append([])
            size = len(each.event)
        calls[-1].append(each)
    return [call for call in calls if call]
