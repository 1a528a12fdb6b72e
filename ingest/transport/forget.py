"""Makes unreadable in a local log what consumer groups are done with.

    cursor of the group ─ looked at every second ─▶ what lies below it is deleted, its bytes overwritten

Only the process that writes a log may delete from it, and a consumer is often another one: its cursor is all that has
to pass between them. The first look is right after the start, for what was committed before a crash.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog

from ingest.transport.contract import ConfigurationError, Topic, Unavailable
from ingest.transport.cursor import committed
from ingest.transport.local_log import LocalLog
from ingest.transport.log_format import CURSORS

LOOK_S: Final = 1.0

_log = structlog.get_logger(__name__)


class LogForgetter:
    """Deletes from `log`, whose files lie in `folder`; `groups` names for each topic the group that is done with it."""

    def __init__(self, log: LocalLog, folder: Path, groups: Mapping[Topic, str], *, look_s: float = LOOK_S) -> None:
        self._log = log
        self._cursors = folder / CURSORS
        self._groups = groups
        self._look_s = look_s
        self._deleted: dict[Topic, int] = {}
        self._looking: asyncio.Task[None] | None = None
        self.fault = ""
        """Why nothing could be deleted the last time; empty where it could."""

    async def start(self) -> None:
        """Begin to look in the background."""
        self._looking = asyncio.create_task(self._look_for_ever())

    async def close(self) -> None:
        """Look a last time where the log is still open, and end."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
            self._looking = None
            await self.look()

    def sample(self, figures: object) -> None:
        """Add nothing: a serving process asks this of all its parts."""

    async def look(self) -> None:
        """Delete what was committed since the last look. What cannot be deleted is up to the next one.

        A log that is closed is left as it is.
        """
        fault = ""
        for topic, group in self._groups.items():
            try:
                await self._forget(topic, group)
            except (Unavailable, ConfigurationError, OSError) as error:
                if not self._log.is_open:
                    return
                fault = str(error)
                if fault != self.fault:
                    _log.warning("records_not_forgotten", topic=topic.value, reason=fault)
        self.fault = fault

    async def _forget(self, topic: Topic, group: str) -> None:
        position = await asyncio.to_thread(committed, self._cursors, group, topic.value)
        if position is not None and position != self._deleted.get(topic):
            await self._log.forget_below(topic, position)
            self._deleted[topic] = position

    async def _look_for_ever(self) -> None:
        while True:
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - the log goes on, and the next look may do better
                _log.error("bug", error=error)
            await asyncio.sleep(self._look_s)
