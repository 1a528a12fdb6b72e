"""Keeps what lies on this machine free of those who are erased.

    erased_subjects ─ every 10 s ─▶ known: the drain lets none of them go to Kafka
                                └─▶ erase: what is stored about the new ones is taken out, twice

The second time, with the next look, is for what was received before the erasure and stored only after the first. A
database that is away is asked again; what could not be taken out is tried again with each look.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Final

import structlog

from ingest.db.database import Connection, Database, DatabaseAway
from ingest.db.queries.erased import ErasedSubject, erased_after, erased_lately
from ingest.erasure import Erased
from ingest.telemetry.metrics import Figures
from ingest.transport.contract import ConfigurationError, Unavailable
from ingest.transport.known_erased import KnownErased
from ingest.transport.log_format import Covers

LOOK_S: Final = 10.0
PAGE_ROWS: Final = 5_000

Erase = Callable[[Covers], Awaitable[int]]
"""Takes what is covered out of what is stored, and returns how many records went. Raises `Unavailable`."""

_log = structlog.get_logger(__name__)


class Erasures:
    """A companion of a serving process: tells `known` of everybody who is erased, and has `erase` take them out."""

    def __init__(
        self,
        database: Database,
        known: KnownErased,
        erase: Erase,
        *,
        look_s: float = LOOK_S,
    ) -> None:
        self._database = database
        self._known = known
        self._erase = erase
        self._look_s = look_s
        self._up_to = 0
        self._lately: frozenset[int] = frozenset()  # numbers of the last minutes that are known already
        self._new: list[Erased] = []  # at most one: who was found in the look at hand
        self._owed: list[Erased] = []
        self._is_away = False
        self._is_complete = False
        self._looking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to look in the background."""
        self._looking = asyncio.create_task(self._look_for_ever())

    async def close(self) -> None:
        """Stop; what is not taken out yet is up to the next start."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    def sample(self, figures: Figures) -> None:
        """Add nothing: what was erased is told with the spools."""

    async def look(self) -> None:
        """Read who is new, and take them out together with those of the look before."""
        before, self._new = self._owed, []
        try:
            await self._read()
        except DatabaseAway:
            if not self._is_away:
                _log.warning("erasures_unread")
            self._is_away = True
        else:
            self._is_away = False
        self._known.told()
        self._owed = [*before, *self._new]
        if self._owed and await self._take_out(self._owed):
            self._owed = self._new

    async def _look_for_ever(self) -> None:
        while True:
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - serving goes on, and the next look may do better
                _log.error("bug", error=error)
            await asyncio.sleep(self._look_s)

    async def _take_out(self, owed: Iterable[Erased]) -> bool:
        begun = time.monotonic()
        first, *others = owed
        covers = first.covers if not others else lambda value: any(each.covers(value) for each in (first, *others))
        try:
            records = await self._erase(covers)
        except (Unavailable, ConfigurationError) as error:
            _log.warning("erasures_owed", reason=str(error))
            return False
        if records:
            _log.info("records_erased", records=records, duration_ms=int((time.monotonic() - begun) * 1000))
        return True

    async def _read(self) -> None:
        """Read page by page. Raises `DatabaseAway`; what was read before is kept."""
        while page := await self._database.run(self._next_page):
            self._add(page)
            self._up_to = page[-1].number
        recent: set[int] = set()
        after = 0
        while page := await self._database.run(partial(self._recent_page, after=after)):
            self._add([row for row in page if row.number not in self._lately])
            recent.update(row.number for row in page)
            after = page[-1].number
        self._lately = frozenset(recent)
        self._is_complete = True

    async def _next_page(self, connection: Connection) -> list[ErasedSubject]:
        return await erased_after(connection, self._up_to, PAGE_ROWS)

    async def _recent_page(self, connection: Connection, *, after: int) -> list[ErasedSubject]:
        return await erased_lately(connection, after, self._up_to, PAGE_ROWS)

    def _add(self, rows: Iterable[ErasedSubject]) -> None:
        """Take rows in, those of one erasure with one time."""
        subjects: dict[tuple[str, str], list[str]] = {}
        for row in rows:
            subjects.setdefault((row.project_id, row.received_until), []).append(row.subject)
        for (project_id, received_until), some in subjects.items():
            if not self._new:  # at first all are new, and need no second list
                self._new = [Erased() if self._is_complete else self._known.erased]
            self._known.erased.add(project_id, some, received_until)
            self._new[0].add(project_id, some, received_until)
