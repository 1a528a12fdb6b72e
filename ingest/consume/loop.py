"""Take, do, remember: the loop of every consumer.

A record is committed once its step is done with it, or once it was set aside as poison. While what the step writes to
is away, the same records are tried again and nothing more is taken, so memory is bounded by one batch.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from random import random
from typing import Final

import structlog

from ingest.consume.dead_letter import DeadLetters
from ingest.consume.step import Away, Poison, Step
from ingest.transport.contract import Delivered, Source, Unavailable

RECORDS_MAX: Final = 5_000
WAIT_MS: Final = 500
PAUSE_MAX_S: Final = 10.0
POISON_SHARE_MAX: Final = 0.05
POISON_FREE: Final = 20
"""So many records may be poison before their share counts: a few say nothing about the code."""

_PAUSE_MIN_S: Final = 0.2

BRAKED: Final = "too many records cannot be used"
DATABASE_AWAY: Final = "the database is away"
TRANSPORT_AWAY: Final = "the transport is away"

_log = structlog.get_logger(__name__)


class Brake(Exception):  # noqa: N818 - it is pulled
    """Too much is poison: not the records are at fault, but the code. Nothing of the last batch was committed."""


class Loop:
    """Runs one step over one source until `stop`. `taken`, `done` and `poisoned` count records since the start."""

    def __init__(
        self,
        source: Source,
        step: Step,
        dead_letters: DeadLetters,
        *,
        records_max: int = RECORDS_MAX,
        jitter: Callable[[], float] = random,
    ) -> None:
        self._source = source
        self._step = step
        self._dead_letters = dead_letters
        self._records_max = records_max
        self._jitter = jitter
        self._stopping = asyncio.Event()
        self._seen = 0.0
        self._bad = 0.0
        self._is_braked = False
        self._error: BaseException | None = None
        self.running = False
        self.taken = 0
        self.done = 0
        self.poisoned = 0
        self.away = False
        """Whether what the step needs, or the source, cannot be had now."""

        self.caught_up = asyncio.Event()
        """Set once there was nothing more to take."""

        self.working_at_ms: int | None = None
        """Time stamp of the oldest record at hand: how far behind this is. None where there is none."""

    @property
    def reason(self) -> str:
        """Why no record gets on now; empty where it does."""
        if self._is_braked:
            return BRAKED
        if not self.away:
            return ""
        error = self._error
        of_transport = isinstance(error, Unavailable | OSError) or (
            error is not None and isinstance(error.__cause__, Unavailable | OSError)
        )
        return TRANSPORT_AWAY if of_transport else DATABASE_AWAY

    def stop(self) -> None:
        """End after the records at hand; those that cannot be finished are handed out again at the next start."""
        self._stopping.set()

    async def run(self) -> None:
        """Consume until `stop`. Raises `Brake`."""
        self.running = True
        try:
            await self._run()
        finally:
            self.running = False

    async def _run(self) -> None:
        pause_s = _PAUSE_MIN_S
        while not self._stopping.is_set():
            try:
                records = await self._source.poll(self._records_max, WAIT_MS)
            except Unavailable as error:
                self._turn(away=True, error=error)
                pause_s = await self._pause(pause_s)
                continue
            if not records:
                self._turn(away=False)
                self.caught_up.set()
                self.working_at_ms = None
                continue
            self.working_at_ms = min(record.timestamp_ms for record in records)
            self.taken += len(records)
            if not await self._finish(records):
                return
            pause_s = _PAUSE_MIN_S

    async def _finish(self, records: Sequence[Delivered]) -> bool:
        """Do the step until it is done and remembered; False where the end came first."""
        pause_s = _PAUSE_MIN_S
        checked = False
        while True:
            try:
                poison = await self._step.do(records)
                if not checked:
                    self._check(len(records), len(poison))
                    checked = True
                if poison:
                    await self._set_aside(poison)
                await self._source.commit()
            except (Away, Unavailable, OSError) as error:
                self._turn(away=True, error=error)
                if self._stopping.is_set():
                    return False
                pause_s = await self._pause(pause_s)
            else:
                self._turn(away=False)
                self.done += len(records) - len(poison)
                self.poisoned += len(poison)
                return True

    async def _set_aside(self, poison: Sequence[Poison]) -> None:
        await self._dead_letters.put(poison)
        for each in poison:
            _log.error(
                "record_set_aside",
                reason=each.reason,
                topic=each.record.topic.value,
                partition=each.record.partition,
                offset=each.record.offset,
            )

    def _check(self, records: int, poison: int) -> None:
        """Pull the brake where too large a share of the last thousands of records is poison."""
        fade = max(0.0, 1 - records / (4 * self._records_max))
        seen, bad = self._seen * fade + records, self._bad * fade + poison
        if bad > POISON_FREE and bad > POISON_SHARE_MAX * seen:
            self._is_braked = True
            raise Brake
        self._seen, self._bad = seen, bad

    def _turn(self, *, away: bool, error: BaseException | None = None) -> None:
        self._error = error
        if away != self.away:
            self.away = away
            if away:
                _log.warning("consumer_waits", error=error)
            else:
                _log.info("consumer_goes_on")

    async def _pause(self, pause_s: float) -> float:
        """Wait, but not for a stop, and return how long to wait the next time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s * (0.5 + self._jitter() / 2)):
                await self._stopping.wait()
        return min(PAUSE_MAX_S, 2 * pause_s)
