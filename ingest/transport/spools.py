"""The spools of this machine: one folder for each serving process, and whatever others have left behind.

    spool/0  spool/1  …     each the folder of a `LocalLog`, held by the process that has its lock

A process takes the first folder that nobody holds, so one that is started again finds what the one before it left. The
others are looked at now and then: a folder with records and without a holder is drained by whoever gets its lock.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import structlog

from ingest.event import Record
from ingest.transport.breaker import Breaker
from ingest.transport.contract import ConfigurationError, Health, Publisher, SpoolState, Stored, Topic, Unavailable
from ingest.transport.drain import Drain
from ingest.transport.files import InUse
from ingest.transport.known_erased import KnownErased, nobody
from ingest.transport.local_log import LocalLog
from ingest.transport.log_format import DATABASE, Covers, Totals
from ingest.transport.sealed import SealKeys

FOLDERS_MAX: Final = 256
ADOPT_S: Final = 5.0
"""Pause between two looks for spools that nobody holds."""

_log = structlog.get_logger(__name__)

OpenLog = Callable[[Path], LocalLog]


class Spools:
    """The folders below `root`; `open_log` makes the log of one."""

    def __init__(
        self, root: Path, keys: SealKeys, open_log: OpenLog, breaker: Breaker, known: KnownErased | None = None
    ) -> None:
        self._root = root
        self._keys = keys
        self._open_log = open_log
        self._breaker = breaker
        self._known = known or nobody()
        self._own: LocalLog | None = None
        self._folder = root
        self._adopted: LocalLog | None = None
        self._opening = asyncio.Lock()  # of folders that are not this process's own
        self._tasks: list[asyncio.Task[None]] = []
        self._found_empty: dict[Path, int] = {}

    async def start(self, kafka: Publisher) -> None:
        """Take a folder and begin to drain it, and those without a holder, to `kafka`.

        Raises `ConfigurationError` where no folder can be used: on a network file system, without write rights, or
        sealed with a key that was not given.
        """
        self._own = await self._take()
        self._tasks = [
            asyncio.create_task(self._drain(self._own, self._folder, kafka, until_empty=False)),
            asyncio.create_task(self._adopt(kafka)),
        ]

    async def publish(self, topic: Topic, records: Sequence[Record], timestamp_ms: int) -> Stored:
        """Store `records` in this process's spool; raises as `LocalLog.publish` does."""
        if self._own is None:
            raise Unavailable("the spool is not open")
        return await self._own.publish(topic, records, timestamp_ms)

    def health(self) -> Health:
        """Tell whether the spool takes records."""
        if self._own is None:
            return Health(ok=False, reason="the spool is not open", pending_records=0, pending_age_ms=0)
        return self._own.health()

    def state(self) -> SpoolState:
        """Tell what lies in the folders that this process holds."""
        logs = [log for log in (self._own, self._adopted) if log is not None]
        totals = Totals()
        for log in logs:
            totals += log.totals
        return SpoolState(
            stored=totals.stored,
            drained=totals.deleted,
            waiting=totals.waiting,
            set_aside=totals.lost,
            bytes_used=sum(log.bytes_used for log in logs),
            oldest_age_ms=max((log.oldest_age_ms for log in logs), default=0),
            erased=totals.erased,
        )

    async def erase(self, covers: Covers) -> int:
        """Take what `covers` holds for out of every spool that no other process holds; return how many records went.

        Raises as `LocalLog.erase` does, with the other spools done all the same.
        """
        faults: list[Exception] = []
        erased = 0
        for log in (self._own, self._adopted):
            try:
                erased += await log.erase(covers) if log is not None else 0
            except (Unavailable, ConfigurationError) as error:
                faults.append(error)
        for folder in await asyncio.to_thread(spool_folders, self._root):
            if folder != self._folder:
                try:
                    erased += await self._erase_in(folder, covers)
                except (Unavailable, ConfigurationError, OSError) as error:
                    faults.append(error)
        if faults:
            raise Unavailable(str(faults[0])) from faults[0]
        return erased

    async def _erase_in(self, folder: Path, covers: Covers) -> int:
        async with self._opening:
            log = self._open_log(folder)
            try:
                await log.start()
                return await log.erase(covers)
            except InUse:  # its holder does the same
                return 0
            finally:
                await log.close()

    async def stop_draining(self) -> None:
        """Leave what is not drained yet to the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def close(self) -> None:
        """Give the folders back."""
        await self.stop_draining()
        if self._own is not None:
            await self._own.close()

    async def _take(self) -> LocalLog:
        for number in range(FOLDERS_MAX):
            self._folder = self._root / str(number)
            log = self._open_log(self._folder)
            try:
                await log.start()
            except InUse:
                continue
            return log
        raise ConfigurationError(f"all {FOLDERS_MAX} spools below {self._root} are in use")

    async def _drain(self, log: LocalLog, folder: Path, kafka: Publisher, *, until_empty: bool) -> None:
        drain = Drain(log, folder, self._keys, kafka, self._breaker, known=self._known)
        try:
            await drain.run(until_empty=until_empty)
        finally:
            drain.close()

    async def _adopt(self, kafka: Publisher) -> None:
        """Look for folders without a holder, and drain them one after the other."""
        while True:
            await asyncio.sleep(ADOPT_S)
            for folder in _abandoned(self._root, self._folder, self._found_empty):
                log = self._open_log(folder)
                try:
                    await self._drain_adopted(log, folder, kafka)
                except InUse:
                    continue
                except (ConfigurationError, OSError) as error:
                    _log.error("spool_unusable", file=folder.name, reason=str(error))
                finally:
                    self._adopted = None
                    await log.close()
                with contextlib.suppress(OSError):
                    self._found_empty[folder] = (folder / DATABASE).stat().st_mtime_ns

    async def _drain_adopted(self, log: LocalLog, folder: Path, kafka: Publisher) -> None:
        async with self._opening:
            await log.start()
        self._adopted = log
        if not log.totals.waiting:
            return
        _log.warning("spool_adopted", file=folder.name)
        await self._known.wait()
        if self._known.erased.latest:  # Kafka may be away for long
            with contextlib.suppress(Unavailable):
                await log.erase(self._known.covers)
        await self._drain(log, folder, kafka, until_empty=True)


def _abandoned(root: Path, own: Path, found_empty: dict[Path, int]) -> Iterator[Path]:
    """Yield the folders that may hold something of somebody else: those that changed since they were found empty."""
    for folder in spool_folders(root):
        with contextlib.suppress(OSError):
            if folder != own and (folder / DATABASE).stat().st_mtime_ns != found_empty.get(folder):
                yield folder


def spool_folders(root: Path) -> list[Path]:
    """Return all folders of spools below `root`, in the order of their numbers."""
    if not root.is_dir():
        return []
    folders = (folder for folder in root.iterdir() if folder.name.isdigit() and (folder / DATABASE).is_file())
    return sorted(folders, key=lambda folder: int(folder.name))
