"""Erases who is to be erased: does what was asked for here, row by row, and tells the other consumers."""

import asyncio
import contextlib
from typing import Final

import structlog

from ingest.clock import Clock
from ingest.control.record import Deed, record
from ingest.db.database import Connection, Database, DatabaseAway
from ingest.db.queries.erasing import (
    Asked,
    await_writers,
    complete,
    days_of,
    erase_events,
    erase_statements,
    hashed_subjects,
    mark_published,
    open_erasures,
)
from ingest.erasure import Erasure, until_text
from ingest.persist.actor import ACTOR
from ingest.persist.erasures import to_record
from ingest.transport.contract import Publisher, Topic, Unavailable

PAUSE_S: Final = 2.0
"""Between two looks for what was asked for."""

LOCK: Final = 0x696E_6573_0002
"""Number of the advisory lock by which one process erases at a time."""

_log = structlog.get_logger(__name__)


class Eraser:
    """Does every erasure that is not completed, one after the other, again and again until it is cancelled.

    `publisher` tells the other consumers; without one there are none.
    """

    def __init__(self, database: Database, publisher: Publisher | None, clock: Clock, pause_s: float = PAUSE_S) -> None:
        self._database = database
        self._publisher = publisher
        self._clock = clock
        self._pause_s = pause_s

    async def run(self) -> None:
        """Erase until cancelled."""
        while True:
            with contextlib.suppress(DatabaseAway):
                if await self._database.run(open_erasures):
                    await self._erase_all()
            await asyncio.sleep(self._pause_s)

    async def _erase_all(self) -> None:
        """Do what is open, unless another process does: a look through all days takes thousands of locks."""
        async with self._database.alone(LOCK) as is_alone:
            for asked in await self._database.run(open_erasures) if is_alone else ():
                await self._erase(asked)

    async def _erase(self, asked: Asked) -> None:
        """Erase somebody; what is done already is done again, and finds nothing. Raises `DatabaseAway`."""
        database = self._database
        await database.transact(await_writers)
        for day in await database.run(lambda connection: days_of(connection, asked)):
            await database.transact(lambda connection, day=day: erase_events(connection, asked, day))  # type: ignore[misc]
        await database.transact(lambda connection: erase_statements(connection, asked))
        if asked.published_at is None and self._publisher is not None:
            try:
                await self._publish(self._publisher, asked)
            except Unavailable as error:
                _log.warning("erasure_not_told", error=error, id=asked.id)
                return
        await database.transact(lambda connection: _complete(connection, asked))

    async def _publish(self, publisher: Publisher, asked: Asked) -> None:
        subjects = await self._database.run(lambda connection: hashed_subjects(connection, asked.id))
        until = until_text(asked.requested_at)
        erasure = Erasure(asked.id, asked.organization_id, asked.project_id, until, tuple(subjects))
        await publisher.publish(Topic.ERASURES, [to_record(erasure)], self._clock.now_ms())
        await self._database.run(lambda connection: mark_published(connection, asked.id))


async def _complete(connection: Connection, asked: Asked) -> None:
    completed = await complete(connection, asked.id)
    if completed is None:
        return
    counts = {
        "events": completed.events_erased,
        "userProperties": completed.user_properties_erased,
        "consents": completed.consents_erased,
    }
    # What another database was asked for may be of an organization that is not known here.
    deed = Deed("erasure", "completed", asked.id, asked.organization_id if asked.subjects else None)
    await record(connection, ACTOR, deed, details=counts)
    _log.info("erasure_completed", id=asked.id)
