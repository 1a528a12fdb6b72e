"""The files of the local log in the hands of their one writer: open, append, delete, checkpoint, close.

Everything here blocks and belongs to one thread; `log_format` tells what is written and why.
"""

import contextlib
import enum
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import structlog

from ingest.clock import Clock
from ingest.transport.files import sync_folder
from ingest.transport.high_water import HighWaterMark
from ingest.transport.log_cut import Cut, replace_by_cut
from ingest.transport.log_erasure import Rewrite, forget_places, replace_chunk
from ingest.transport.log_format import (
    DATABASE,
    HIGH_WATER,
    PAGE_BYTES,
    Batch,
    Damage,
    Disk,
    Totals,
    bytes_used,
    check_keys,
    checkpoint,
    commit,
    connect_writer,
    is_corrupt,
    next_offsets,
    oldest_ms,
    seal_chunk,
    totals,
)
from ingest.transport.salvage import replace_damaged
from ingest.transport.sealed import SealKeys

WAL_BYTES_MAX: Final = 4 * 2**20
"""Size of the WAL from which it is copied into the database. It may grow further while a reader reads."""

DELETE_CHUNKS_MAX: Final = 16
"""Chunks deleted in one transaction: a deletion overwrites bytes, and publishes wait for it."""

CHUNK_EXTRA_PAGES: Final = 3
"""Pages that a chunk may take beyond its bytes: a part of a page, and a page split in the table and in its index."""

_log = structlog.get_logger(__name__)


class LogFull(Exception):  # noqa: N818 - named for what the operator can do about it
    """The log holds as much as it may; room comes back by retention and deletion."""


class Expired(enum.StrEnum):
    """Which chunks to delete, as a condition on the table `chunk` with one parameter."""

    OLDER_THAN_MS = "timestamp_max < ?1"
    BELOW_OFFSET = "first_offset < ?1 AND first_offset + record_count <= ?1"


class LogStore:
    """The open files. Any `sqlite3.Error` or `OSError` of a method leaves it closed; `open` makes it ready again."""

    def __init__(self, folder: Path, keys: SealKeys, *, bytes_max: int, clock: Clock, disk: Disk) -> None:
        self._path = folder / DATABASE
        self._keys = keys
        self._bytes_max = bytes_max
        self._clock = clock
        self._disk = disk
        self._database: sqlite3.Connection | None = None
        self._mark: HighWaterMark | None = None
        self._offsets: dict[str, int] = {}
        self._wal_bytes = 0
        self._database_is_corrupt = False
        self.damage: Sequence[Damage] = ()
        """All offsets that are known to be lost, those of earlier starts included."""
        self.warning = ""
        """What this process found amiss when it opened the files; empty when nothing was."""
        self.totals = Totals()
        """What became of all records over the life of the files, as far as they have been opened."""
        self.oldest_ms: int | None = None
        """The Unix time of the oldest record that is there."""
        self.bytes_used = 0
        """Size of what the database holds, without the pages that are free."""

    @property
    def is_open(self) -> bool:
        """Whether the files are open and believed."""
        return self._database is not None

    def open(self) -> None:
        """Open or create the files, recover, and compare them with the high-water mark.

        Raises `ConfigurationError` when the keys do not fit; `sqlite3.Error` or `OSError` when the disk does not work.
        """
        self.close()
        try:
            self._mark = HighWaterMark(self._path.parent / HIGH_WATER, self._disk.sync)
            if self._database_is_corrupt:
                self._replace_database()
            try:
                self._open_database()
            except sqlite3.DatabaseError as error:
                if not is_corrupt(error):
                    raise
                self._replace_database()
                self._open_database()
            sync_folder(self._path.parent)
        except BaseException:
            self.close()
            raise

    def append(self, batches: Mapping[str, Sequence[Batch]]) -> None:
        """Store all `batches`, given by topic, in one transaction. Once it returns they survive a power loss.

        Raises `LogFull` with nothing changed, else `sqlite3.Error` or `OSError`.
        """
        database, mark = self._opened()
        chunks = [seal_chunk(topic, self._offsets.get(topic, 0), some, self._keys) for topic, some in batches.items()]
        bytes_new = sum(len(chunk.sealed) for chunk in chunks)
        try:
            pages_new = sum(len(chunk.sealed) // PAGE_BYTES + CHUNK_EXTRA_PAGES for chunk in chunks)
            self.bytes_used = bytes_used(database)
            if self.bytes_used + pages_new * PAGE_BYTES > self._bytes_max:
                raise LogFull(f"the log is full: {self.bytes_used} bytes are used of at most {self._bytes_max}")
            offsets = self._offsets | {chunk.topic: chunk.first_offset + chunk.record_count for chunk in chunks}
            commit(database, chunks, {chunk.topic: offsets[chunk.topic] for chunk in chunks})
            mark.write(offsets)
        except (sqlite3.Error, OSError) as error:
            self._failed(error)
            raise
        self._offsets = offsets
        self._wal_bytes += bytes_new
        count = sum(chunk.record_count for chunk in chunks)
        self.totals += Totals(stored=count, waiting=count)
        if self.oldest_ms is None:
            self.oldest_ms = min(chunk.timestamp_min for chunk in chunks)

    def delete(self, topic: str, expired: Expired, bound: int) -> int:
        """Delete the first few chunks that lie wholly within `bound` and return how many records went, 0 at the end.

        Raises `sqlite3.Error`.
        """
        database, _ = self._opened()
        condition = f"topic = ?2 AND {expired} ORDER BY first_offset LIMIT {DELETE_CHUNKS_MAX}"
        statement = (
            f"DELETE FROM chunk WHERE rowid IN (SELECT rowid FROM chunk WHERE {condition}) "  # noqa: S608 - constants
            "RETURNING record_count, length(sealed), first_offset"
        )
        with self._transaction(database):
            rows = database.execute(statement, (bound, topic)).fetchall()
            records = sum(int(count) for count, *_ in rows)
            if records:
                database.execute("UPDATE topic SET deleted = deleted + ?1 WHERE name = ?2", (records, topic))
            erased = forget_places(database, topic, [int(first_offset) for *_, first_offset in rows])
        self._wal_bytes += sum(length for _, length, _ in rows)
        self.totals += Totals(deleted=records - erased, waiting=erased - records)
        return records

    def rewrite(self, rewrites: Sequence[Rewrite]) -> int:
        """Put chunks from which records were erased in the place of what they were; return how many records that are.

        A chunk that is gone in the meantime stays gone. Raises `sqlite3.Error` with all of them as they were.
        """
        database, _ = self._opened()
        with self._transaction(database):
            erased = sum(replace_chunk(database, rewrite) for rewrite in rewrites)
        self._wal_bytes += sum(2 * len(chunk.sealed) for chunk, _ in rewrites)
        self.totals += Totals(waiting=-erased, erased=erased)
        return erased

    def cut(self, cut: Cut) -> int:
        """Put what is left of a chunk in its place; return how many records went, 0 where the chunk is gone.

        Raises `sqlite3.Error` with the chunk as it was.
        """
        database, _ = self._opened()
        with self._transaction(database):
            records, erased = replace_by_cut(database, cut)
        self._wal_bytes += 2 * len(cut.chunk.sealed)
        self.totals += Totals(deleted=records - erased, waiting=erased - records)
        return records

    def set_aside(self, damage: Damage) -> None:
        """Enter `damage` into the table `lost`, and move the chunks that begin within it to `aside`.

        Raises `sqlite3.Error`.
        """
        database, _ = self._opened()
        within = "topic = ?1 AND first_offset >= ?2 AND first_offset < ?3"
        bounds = damage.topic, damage.first_offset, damage.first_offset + damage.record_count
        with self._transaction(database):
            database.execute(f"INSERT INTO aside SELECT * FROM chunk WHERE {within}", bounds)  # noqa: S608 - a constant
            database.execute(f"DELETE FROM chunk WHERE {within}", bounds)  # noqa: S608 - a constant
            database.execute(f"DELETE FROM erased WHERE {within}", bounds)  # noqa: S608 - a constant
            database.execute("INSERT INTO lost VALUES (?, ?, ?, ?)", damage)
        self.damage = [*self.damage, damage]
        self._count(database)

    def replace(self) -> None:
        """Put a sound database with all that can still be read in the place of this one.

        Raises `sqlite3.Error` or `OSError`.
        """
        self._database_is_corrupt = True
        self.open()

    def checkpoint(self, *, truncate: bool = False) -> bool:
        """Copy a long WAL into the database, or with `truncate` any WAL, emptying it.

        Return whether it was done or was not needed; a reader can put a truncation off. Raises `sqlite3.Error`.
        """
        if not truncate and self._wal_bytes < WAL_BYTES_MAX:
            return True
        database, _ = self._opened()
        try:
            busy = checkpoint(database, "TRUNCATE" if truncate else "PASSIVE")
            self.bytes_used = bytes_used(database)
            self.oldest_ms = oldest_ms(database)
        except sqlite3.Error as error:
            self._failed(error)
            raise
        self._wal_bytes = 0
        return not busy

    def close(self) -> None:
        """Release the files, whatever state they are in; a second call is a no-op."""
        database, self._database = self._database, None
        mark, self._mark = self._mark, None
        self._wal_bytes = 0
        if database is not None:
            database.close()  # rolls back what was not committed
        if mark is not None:
            mark.close()

    def _opened(self) -> tuple[sqlite3.Connection, HighWaterMark]:
        if self._database is None or self._mark is None:
            raise OSError("the log is not open")
        return self._database, self._mark

    def _open_database(self) -> None:
        self._database = database = connect_writer(self._path, self._disk)
        check_keys(database, self._keys)
        database.execute("INSERT OR IGNORE INTO seal_key VALUES (?)", (self._keys.first_id,))
        self._go_on_above_mark(database)

    def _replace_database(self) -> None:
        if self._database is not None:
            self._database.close()
        aside = replace_damaged(self._path, self._keys, self._disk, self._clock.now_ms())
        self._database_is_corrupt = False
        reason = f"the database was damaged and lies in {aside.name}"
        self.warning = reason
        _log.error("log_replaced", reason=reason)

    def _go_on_above_mark(self, database: sqlite3.Connection) -> None:
        """Take the larger of what the database and the mark say, so that no offset is ever used twice."""
        _, mark = self._opened()
        stored, marked = next_offsets(database), mark.offsets
        self._offsets = {name: max(stored.get(name, 0), marked.get(name, 0)) for name in {*stored, *marked}}
        tails = [
            Damage(name, first, end - first, "the end of the log is missing")
            for name, end in marked.items()
            if (first := stored.get(name, 0)) < end
        ]
        if tails:
            commit(database, (), self._offsets, tails)
            self.warning = f"acknowledged records were lost: {'; '.join(map(str, tails))}"
        if stored and not mark.readable:
            self.warning = "the high-water mark was missing: a lost end of the log would not have been noticed"
        if self._offsets != marked:
            mark.write(self._offsets)
        self.damage = [Damage(*row) for row in database.execute("SELECT * FROM lost ORDER BY topic, first_offset")]
        self._count(database)
        if self.warning:
            _log.error("log_damaged", reason=self.warning)

    def _count(self, database: sqlite3.Connection) -> None:
        self.totals = totals(database)
        self.oldest_ms = oldest_ms(database)
        self.bytes_used = bytes_used(database)

    @contextlib.contextmanager
    def _transaction(self, database: sqlite3.Connection) -> Iterator[None]:
        """Commit what the block does, or nothing of it and close the files."""
        try:
            database.execute("BEGIN IMMEDIATE")
            yield
            database.execute("COMMIT")
        except sqlite3.Error as error:
            self._failed(error)
            raise

    def _failed(self, error: Exception) -> None:
        self._database_is_corrupt |= is_corrupt(error)
        self.close()
