"""The loop: takes what is due from the outbox, tries it, and writes down what became of it.

A message is kept from other workers while it is tried. One whose worker dies before the outcome is written is tried
again, so that each is delivered at least once, always under the same id.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Final

import structlog

from ingest.db.database import Database, DatabaseAway
from ingest.db.queries.outbox import Backlog, DueMessage, backlog, claim_due, mark_delivered, mark_failed
from ingest.notify.backoff import delay_s
from ingest.notify.channels import Channels
from ingest.notify.failure import Undelivered
from ingest.notify.figures import NotifyFigures

POLL_S: Final = 5.0
STATE_S: Final = 60.0
AT_ONCE_MAX: Final = 16
"""Deliveries of one process at the same time, so that a receiver that does not answer holds up nobody else."""

LEASE_S: Final = 60.0
"""How long a message is kept for the worker that took it; any attempt and the writing down of its end are shorter."""

_log = structlog.get_logger(__name__)


class Worker:
    """Delivers until it is told to stop. `figures` count what it did."""

    def __init__(self, database: Database, channels: Channels, *, jitter: Callable[[], float] = random.random) -> None:
        self._database = database
        self._channels = channels
        self._jitter = jitter
        self._stopping = asyncio.Event()
        self._is_away = False
        self.figures = NotifyFigures()

    def stop(self) -> None:
        """Take nothing more; what is being delivered is finished."""
        self._stopping.set()

    def reasons(self) -> list[str]:
        """Tell why nothing is delivered now; nothing where it is."""
        told = ["the process is stopping"] if self._stopping.is_set() else []
        return [*told, "the database is away"] if self._is_away else told

    async def run(self) -> None:
        """Deliver what is due every POLL_S until `stop`. A database that is away is waited for."""
        telling = asyncio.create_task(self._tell_state())
        try:
            while not self._stopping.is_set():
                with contextlib.suppress(DatabaseAway):
                    await self.step()
                await self._pause(POLL_S)
        finally:
            telling.cancel()

    async def step(self) -> None:
        """Deliver until nothing is due, or until `stop`. Raises `DatabaseAway` once all that was begun has ended."""
        running: set[asyncio.Task[None]] = set()
        away: DatabaseAway | None = None
        while True:
            if away is None and not self._stopping.is_set() and len(running) < AT_ONCE_MAX:
                try:
                    running |= await self._begin(AT_ONCE_MAX - len(running))
                except DatabaseAway as error:
                    away = error
            if not running:
                break
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                try:
                    task.result()
                except DatabaseAway as error:
                    away = error
        self._note(away)
        if away is not None:
            raise away

    async def backlog(self) -> Backlog:
        """Return what is undelivered. Raises `DatabaseAway`."""
        return await self._database.run(backlog)

    async def _begin(self, rows_max: int) -> set[asyncio.Task[None]]:
        due = await self._database.run(
            lambda connection: claim_due(connection, rows_max=rows_max, lease_s=LEASE_S),
        )
        return {asyncio.create_task(self._attempt(message)) for message in due}

    async def _attempt(self, message: DueMessage) -> None:
        log = _log.bind(
            message_id=message.message_id,
            recipient=message.recipient,
            organization_id=message.organization_id,
            attempts=message.attempts,
        )
        try:
            await self._channels.deliver(message)
        except Undelivered as error:
            failure = error.code
            log.warning("message_not_delivered", failure=failure)
        except Exception as error:  # noqa: BLE001 - one message that cannot be handled must not keep others back
            failure = "internal"
            log.error("message_not_delivered", failure=failure, error=error)  # noqa: TRY400 - the type is told, no more
        else:
            self.figures.count(message.recipient, delivered=True)
            await self._database.run(lambda connection: mark_delivered(connection, message.id))
            log.info("message_delivered")
            return
        self.figures.count(message.recipient, delivered=False)
        wait_s = delay_s(message.attempts + 1, self._jitter)
        await self._database.run(lambda connection: mark_failed(connection, message, failure, delay_s=wait_s))

    def _note(self, away: DatabaseAway | None) -> None:
        """Log when the database goes away and when it is back, once each."""
        if away is not None and not self._is_away:
            _log.warning("database_away", error=away)
        elif away is None and self._is_away:
            _log.info("database_back")
        self._is_away = away is not None

    async def _tell_state(self) -> None:
        while True:
            await asyncio.sleep(STATE_S)
            with contextlib.suppress(DatabaseAway):
                left = await self.backlog()
                if left.undelivered:
                    _log.warning("notify_state", count=left.undelivered, age_ms=int(left.oldest_s * 1000))

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
