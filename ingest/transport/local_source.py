"""Consuming the local log, in the process that writes it or in another one."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import structlog

from ingest.transport.contract import ConfigurationError, Delivered, Topic, Unavailable
from ingest.transport.cursor import Cursor
from ingest.transport.log_format import CURSORS, Damage
from ingest.transport.log_reader import LogReader
from ingest.transport.sealed import SealKeys

POLL_INTERVAL_MS: Final = 50
"""Pause between two looks for new records: another process cannot be told of them in any cheaper way."""

DAMAGE_MAX: Final = 1_000
"""Newest reports of skipped records that are kept for `damage`."""

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")


class LocalLogSource:
    """A `Source` over the folder of a `LocalLog`. The log has one partition, so a group has one consumer at a time.

    Without a `group` nothing is remembered: each start begins at the oldest record, or with `from_newest` behind the
    newest, and `commit` does nothing. Records that cannot be read any more are skipped, counted and reported.
    """

    def __init__(
        self, folder: Path, keys: SealKeys, topic: Topic, group: str | None, *, from_newest: bool = False
    ) -> None:
        self._folder = folder
        self._topic = topic
        self._group = group
        self._from_newest = from_newest and group is None
        self._reader = LogReader(folder, keys, topic)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="local-log-source")  # keeps its calls in order
        self._cursor: Cursor | None = None
        self._ahead: deque[Delivered] = deque()  # read but not yet handed out: what one look brought too much
        self._read_up_to = 0
        self._handed_out_up_to = 0
        self._committed_up_to = 0
        self._closed = False
        self.damage: deque[Damage] = deque(maxlen=DAMAGE_MAX)
        """The ranges of offsets that were skipped because they cannot be read, newest last."""
        self.records_skipped = 0

    async def start(self) -> None:
        """Begin at the group's committed position, or at the oldest record where there is none.

        Raises `ConfigurationError` when the keys do not fit the log or the group has a consumer already.
        """
        position = await self._run(self._first_position)
        self._read_up_to = self._handed_out_up_to = self._committed_up_to = position

    async def poll(self, records_max: int, wait_ms: int) -> Sequence[Delivered]:
        """Return the next 1 to `records_max` records, or none when `wait_ms` passed without any.

        Raises `Unavailable` when the log cannot be read for now.
        """
        now_s = asyncio.get_running_loop().time
        deadline_s = now_s() + wait_ms / 1000
        while not self._ahead:
            position = self._read_up_to
            await self._read(records_max)
            if self._read_up_to > position:
                continue
            if (left_s := deadline_s - now_s()) <= 0:
                return ()
            await asyncio.sleep(min(left_s, POLL_INTERVAL_MS / 1000))
        records = [self._ahead.popleft() for _ in range(min(records_max, len(self._ahead)))]
        self._handed_out_up_to = records[-1].offset + 1 if self._ahead else self._read_up_to
        return records

    async def commit(self) -> None:
        """Remember durably that everything handed out so far is done. Raises `OSError`."""
        cursor, done = self._cursor, self._handed_out_up_to
        if cursor is not None and done > self._committed_up_to:
            await self._run(lambda: cursor.write(done))
            self._committed_up_to = done

    async def lag_records(self) -> int | None:
        """See `Source.lag_records`."""
        if self._closed:
            return None
        position = self._handed_out_up_to
        try:
            return await self._run(lambda: self._reader.count_from(position))
        except (Unavailable, ConfigurationError):
            return None

    async def close(self) -> None:
        """Release the files; what was not committed is handed out again. A second call is a no-op."""
        if self._closed:
            return
        self._closed = True
        await self._run(self._release)
        self._thread.shutdown(wait=False)

    async def _read(self, records_max: int) -> None:
        position = self._read_up_to
        found = await self._run(lambda: self._reader.read(position, records_max))
        self._ahead.extend(found.records)
        self._read_up_to = found.next_offset
        if not found.records:
            self._handed_out_up_to = found.next_offset
        for damage in found.skipped:
            self.damage.append(damage)
            self.records_skipped += damage.record_count
            _log.error("records_skipped", reason=str(damage))

    def _first_position(self) -> int:
        newest = self._reader.newest()  # also finds out whether the keys fit
        if self._group is None:
            return newest if self._from_newest else 0
        self._cursor = Cursor(self._folder / CURSORS, self._group, self._topic.value)
        return self._cursor.read() or 0

    def _release(self) -> None:
        self._reader.close()
        if self._cursor is not None:
            self._cursor.close()

    async def _run(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)
