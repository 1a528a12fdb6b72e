"""Looks at the local log from the side: finds chunks, opens them, steps over what is damaged. It never writes."""

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from ingest.transport.contract import ConfigurationError, Delivered, Topic, Unavailable
from ingest.transport.log_format import (
    DATABASE,
    Chunk,
    Damage,
    check_keys,
    connect_reader,
    format_version,
    is_corrupt,
    open_chunk,
)
from ingest.transport.sealed import SealKeys, Tampered, UnknownKey

DATABASE_DAMAGED: Final = "the database is damaged here"
"""The reason of a damage that SQLite itself noticed, which concerns more than one chunk."""

_AT_OR_BEHIND: Final = """
FROM chunk WHERE topic = ?1 AND first_offset >= coalesce(
    (SELECT max(first_offset) FROM chunk WHERE topic = ?1 AND first_offset <= ?2), 0)
"""
_CHUNKS: Final = f"""SELECT * {_AT_OR_BEHIND} AND (first_offset + record_count > ?2 OR record_count < 1)
ORDER BY first_offset"""  # a count below 1 is damage, to be noticed and not to be passed over in silence
_TWO_FIRST_OFFSETS: Final = f"SELECT first_offset {_AT_OR_BEHIND} ORDER BY first_offset LIMIT 2"  # needs the index only
_FIRST_FROM: Final = "SELECT * FROM chunk WHERE topic = ?1 AND first_offset >= ?2 ORDER BY first_offset LIMIT 1"
_LAST_BELOW: Final = "SELECT * FROM chunk WHERE topic = ?1 AND first_offset < ?2 ORDER BY first_offset DESC LIMIT 1"
_NEXT_OFFSET: Final = "SELECT next_offset FROM topic WHERE name = ?1"
_COUNT_FROM: Final = """
SELECT next_offset - max(?2, coalesce((SELECT min(first_offset) FROM chunk WHERE topic = ?1), next_offset))
FROM topic WHERE name = ?1
"""


class Found(NamedTuple):
    """What one look brought: `next_offset` lies behind the records and behind all that had to be skipped.

    `read_up_to` lies behind the last chunk that could be opened, with records or with the places of erased ones.
    """

    records: Sequence[Delivered]
    next_offset: int
    skipped: Sequence[Damage] = ()
    read_up_to: int = 0


class LogReader:
    """A read-only view of one topic. Every call blocks; calls must not overlap. The log need not exist yet."""

    def __init__(self, folder: Path, keys: SealKeys, topic: Topic) -> None:
        self._path = folder / DATABASE
        self._keys = keys
        self._topic = topic
        self._database: sqlite3.Connection | None = None
        self._inode = 0

    def newest(self) -> int:
        """Return the offset behind the newest record. Raises as `read` does."""
        if (database := self._connected()) is None:
            return 0
        try:
            row = database.execute(_NEXT_OFFSET, (self._topic.value,)).fetchone()
        except sqlite3.Error as error:
            raise self._away(error) from None
        return int(row[0]) if row else 0

    def count_from(self, position: int) -> int:
        """Return how many offsets there are from `position` on, 0 where all chunks are gone. Raises as `read` does."""
        if (database := self._connected()) is None:
            return 0
        try:
            row = database.execute(_COUNT_FROM, (self._topic.value, position)).fetchone()
        except sqlite3.Error as error:
            raise self._away(error) from None
        return max(0, int(row[0])) if row else 0

    def read(self, position: int, records_max: int) -> Found:
        """Return the records from `position` on, at least `records_max` where there are as many, in whole chunks.

        Raises `ConfigurationError` when a key is missing, `Unavailable` when the disk does not work.
        """
        if (database := self._connected()) is None:
            return Found((), position)
        records: list[Delivered] = []
        skipped: list[Damage] = []
        up_to = position
        read_up_to = 0
        try:
            for row in database.execute(_CHUNKS, (self._topic.value, position)):
                chunk = Chunk(*row)
                try:
                    records.extend(self._open(chunk, position))
                    up_to = read_up_to = chunk.first_offset + chunk.record_count
                except Tampered as error:
                    first = max(up_to, chunk.first_offset)
                    up_to = self._behind(database, first)
                    skipped.append(Damage(chunk.topic, first, up_to - first, str(error)))
                if len(records) >= records_max:
                    break
        except UnknownKey as error:
            if up_to == position:
                raise ConfigurationError(str(error)) from None
        except sqlite3.Error as error:
            if not is_corrupt(error):
                raise self._away(error) from None
            if up_to == position:
                up_to = self._behind(database, position)
                skipped.append(Damage(self._topic.value, position, up_to - position, DATABASE_DAMAGED))
        return Found(records, up_to, [damage for damage in skipped if damage.record_count > 0], read_up_to)

    def chunk_from(self, position: int) -> Chunk | None:
        """Return the first chunk that begins at `position` or behind it, unopened, or None where there is none.

        What SQLite cannot read is stepped over. Raises as `read` does.
        """
        if (database := self._connected()) is None:
            return None
        while True:
            try:
                rows = database.execute(_FIRST_FROM, (self._topic.value, position)).fetchall()
            except sqlite3.Error as error:
                if not is_corrupt(error):
                    raise self._away(error) from None
                if (behind := self._behind(database, position)) <= position:
                    return None
                position = behind
            else:
                return Chunk(*rows[0]) if rows else None

    def chunk_around(self, position: int) -> Chunk | None:
        """Return the chunk that begins below `position` and goes on behind it, unopened, or None.

        So it is where SQLite cannot read it. Raises as `read` does.
        """
        if (database := self._connected()) is None:
            return None
        try:
            row = database.execute(_LAST_BELOW, (self._topic.value, position)).fetchone()
        except sqlite3.Error as error:
            if not is_corrupt(error):
                raise self._away(error) from None
            return None
        chunk = Chunk(*row) if row else None
        return chunk if chunk is not None and chunk.first_offset + chunk.record_count > position else None

    def close(self) -> None:
        """Release the database; a later call opens it again."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _open(self, chunk: Chunk, position: int) -> Iterator[Delivered]:
        headers, batches = open_chunk(chunk, self._keys)
        offset = chunk.first_offset
        for timestamp_ms, records in batches:
            for record in records:
                if offset >= position and record is not None:
                    yield Delivered(self._topic, 0, offset, timestamp_ms, record.key, record.value, headers)
                offset += 1

    def _behind(self, database: sqlite3.Connection, position: int) -> int:
        """Return where a damaged chunk at `position` ends: what it says of its own length is not believed."""
        topic = self._topic.value
        try:
            for (first_offset,) in database.execute(_TWO_FIRST_OFFSETS, (topic, position)):
                if first_offset > position:
                    return int(first_offset)
            (end,) = database.execute(_NEXT_OFFSET, (topic,)).fetchone() or (position,)
        except sqlite3.Error as error:
            raise self._away(error) from None
        return max(int(end), position)

    def _connected(self) -> sqlite3.Connection | None:
        """Return the open database, or None where there is none yet. A replaced file is noticed by its inode."""
        try:
            inode = self._path.stat().st_ino
        except FileNotFoundError:
            self.close()
            return None
        if self._database is None or inode != self._inode:
            self.close()
            try:
                self._database = self._connect()
            except sqlite3.Error as error:
                raise self._away(error) from None
            self._inode = inode
        return self._database

    def _connect(self) -> sqlite3.Connection | None:
        database = connect_reader(self._path)
        try:
            if is_begun := format_version(database) > 0:
                check_keys(database, self._keys)
        except BaseException:
            database.close()
            raise
        if is_begun:
            return database
        database.close()  # its writer has only just begun
        return None

    def _away(self, error: sqlite3.Error) -> Unavailable:
        self.close()
        return Unavailable(f"the log cannot be read: {type(error).__name__}: {error}")
