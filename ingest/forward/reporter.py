"""Tells how forwarding goes: every few seconds into the database, where the status and the operators read it."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final

import structlog

from ingest.control.forwarding import tell_destination
from ingest.conversion import Platform
from ingest.db.database import Database, DatabaseAway
from ingest.db.queries.destinations import DestinationSeen, forget_worker, keep_worker
from ingest.forward.backlog import Backlog
from ingest.forward.decide import KILLED, UNKNOWN_NOW
from ingest.forward.destination import Destination
from ingest.forward.tokens import VAULT_AWAY
from ingest.registry.snapshot import Snapshot

EVERY_S: Final = 2.0

SILENT: Final = (KILLED.reason, UNKNOWN_NOW.reason, VAULT_AWAY.reason)
"""Reasons of which operators know already, or will know by other means: nothing is told of them."""

_log = structlog.get_logger(__name__)


class Reporter:
    """Reports the destinations of one process. `destinations` may grow meanwhile."""

    def __init__(
        self,
        database: Database,
        destinations: dict[tuple[str, Platform], Destination],
        registry: Callable[[], Snapshot],
        backlog: Backlog,
        worker_id: str,
    ) -> None:
        self._database = database
        self._destinations = destinations
        self._registry = registry
        self._backlog = backlog
        self._worker_id = worker_id
        self._told: dict[tuple[str, Platform], DestinationSeen] = {}

    async def run(self, every_s: float = EVERY_S) -> None:
        """Report until cancelled; a database that is away is told later what holds then."""
        while True:
            try:
                await self.report()
            except DatabaseAway:
                _log.debug("report_waits")
            await asyncio.sleep(every_s)

    async def report(self) -> None:
        """Write down what has changed since the last report. Raises `DatabaseAway`."""
        apps = self._registry().apps
        for place, destination in list(self._destinations.items()):
            seen, app = _seen(destination), apps.get(destination.app_id)
            if seen == self._told.get(place) or app is None or seen.reason in SILENT:
                continue
            tell = partial(tell_destination, organization_id=app.organization_id, seen=seen)
            if await self._database.transact(tell):
                _log.warning(
                    "destination_state", app_id=app.id, platform=seen.platform, state=seen.state, failure=seen.reason
                )
            self._told[place] = seen
        waits = self._backlog
        keep = partial(keep_worker, worker_id=self._worker_id, lag_records=waits.forward, parked_records=waits.parked)
        await self._database.run(keep)

    async def close(self) -> None:
        """Let nobody take this process for one that forwards. Raises `DatabaseAway`."""
        await self._database.run(lambda connection: forget_worker(connection, self._worker_id))


def _seen(destination: Destination) -> DestinationSeen:
    success_ms = destination.last_success_ms
    return DestinationSeen(
        destination.app_id,
        destination.platform.value,
        destination.state.value,
        destination.reason,
        None if success_ms is None else datetime.fromtimestamp(success_ms / 1000, UTC),
    )
