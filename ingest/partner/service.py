"""What stands behind the partner surface in a serving process, begun and ended with it."""

import asyncio
import time
from typing import Final

import structlog

from ingest.db.database import Database, DatabaseAway
from ingest.db.queries.outbox import backlog
from ingest.partner.request_log import PartnerRequestLog
from ingest.partner.verify import SecretVerifier
from ingest.telemetry.metrics import Figures

OUTBOX_LOOK_S: Final = 10.0

_log = structlog.get_logger(__name__)


class PartnerService:
    """The pool, the threads and the background work of the partner surface."""

    def __init__(self, database: Database, verifier: SecretVerifier, request_log: PartnerRequestLog) -> None:
        self._database = database
        self._verifier = verifier
        self._request_log = request_log
        self._looking: asyncio.Task[None] | None = None
        self._outbox_age_s = 0.0
        self._looked_s = 0.0

    async def start(self) -> None:
        """Begin; nothing is waited for."""
        await self._database.open()
        await self._request_log.start()
        self._looking = asyncio.create_task(self._look_on())

    async def close(self) -> None:
        """Write what the request log still holds, and end."""
        if self._looking is not None:
            self._looking.cancel()
        await self._request_log.close()
        self._verifier.close()
        await self._database.close()

    def sample(self, figures: Figures) -> None:
        """Set the figures of this part."""
        waiting = self._outbox_age_s + time.monotonic() - self._looked_s if self._outbox_age_s else 0.0
        figures.outbox_oldest_age_seconds = waiting
        figures.request_log_dropped = self._request_log.dropped

    async def _look_on(self) -> None:
        """Look now and then whether somebody has not been told of a kill, whoever should tell them."""
        while True:
            try:
                self._outbox_age_s = (await self._database.run(backlog)).oldest_s
                self._looked_s = time.monotonic()
            except DatabaseAway:
                pass  # what was not told by then goes on to age
            except Exception as error:  # noqa: BLE001 - a bug here must not end the looking for good
                _log.error("bug", error=error)
            await asyncio.sleep(OUTBOX_LOOK_S)
