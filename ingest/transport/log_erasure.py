"""Erasing records from the local log: who looks through the chunks, and what is written in their place.

    reader's thread: open chunks, ask of each record ─▶ writer's thread: replace those that change, in one transaction

The looking takes the time, so the writer is not held up by it. An erased record leaves its place behind, see
`log_format`; a damaged chunk cannot be looked through and stays as it is.
"""

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from ingest.transport.contract import Topic
from ingest.transport.log_format import Chunk, Covers, without
from ingest.transport.log_reader import LogReader
from ingest.transport.sealed import SealKeys, Tampered, UnknownKey

PERSONAL: Final = (Topic.EVENTS, Topic.USER_PROPERTIES, Topic.CONSENT, Topic.FORWARD, Topic.FORWARD_PARKED)
"""The topics whose records may be about somebody."""

LOOK_S: Final = 0.02
"""Time from which a look takes no further chunk."""

REWRITE_BYTES_MAX: Final = 2 * 2**20
"""Sealed bytes from which a look takes no further chunk: they are replaced in one transaction, and publishes wait."""

GONE: Final = -1
"""Stands in the table `erased` for all chunks of a topic that are gone."""


class Rewrite(NamedTuple):
    """A chunk as it is to be, with `erased` records less than it had."""

    chunk: Chunk
    erased: int


class Look(NamedTuple):
    """What one look brought; `next_offset` is None at the end of the topic."""

    rewrites: Sequence[Rewrite]
    next_offset: int | None


class LogEraser:
    """Looks through one topic. Every call blocks; calls must not overlap."""

    def __init__(self, folder: Path, keys: SealKeys, topic: Topic) -> None:
        self._reader = LogReader(folder, keys, topic)
        self._keys = keys

    def look(self, position: int, covers: Covers) -> Look:
        """Look through some chunks from `position` on. Raises as `LogReader.read` does."""
        rewrites: list[Rewrite] = []
        sealed_bytes = 0
        until_s = time.monotonic() + LOOK_S
        while sealed_bytes < REWRITE_BYTES_MAX and time.monotonic() < until_s:
            chunk = self._reader.chunk_from(position)
            if chunk is None:
                return Look(rewrites, None)
            position = chunk.first_offset + 1  # what a damaged chunk says of its length is not believed
            try:
                changed, erased = without(chunk, covers, self._keys)
            except (Tampered, UnknownKey):
                continue
            if erased:
                rewrites.append(Rewrite(changed, erased))
                sealed_bytes += len(chunk.sealed)
        return Look(rewrites, position)

    def close(self) -> None:
        """Release the database."""
        self._reader.close()


def replace_chunk(database: sqlite3.Connection, rewrite: Rewrite) -> int:
    """Put the changed chunk in its place, in the transaction at hand; return how many records went, 0 if it is gone."""
    chunk, erased = rewrite
    place = chunk.topic, chunk.first_offset
    update = "UPDATE chunk SET key_id = ?, sealed = ? WHERE topic = ? AND first_offset = ? AND record_count = ?"
    if not database.execute(update, (chunk.key_id, chunk.sealed, *place, chunk.record_count)).rowcount:
        return 0
    count_erased(database, *place, erased)
    return erased


def forget_places(database: sqlite3.Connection, topic: str, first_offsets: Sequence[int], *, left: int = 0) -> int:
    """Note that these chunks are gone, in the transaction at hand, but for `left` erased places that live on.

    Return how many of the records that went were erased.
    """
    forget = "DELETE FROM erased WHERE topic = ? AND first_offset = ? RETURNING record_count"
    counts = [database.execute(forget, (topic, first_offset)).fetchall() for first_offset in first_offsets]
    erased = sum(int(count) for rows in counts for (count,) in rows) - left
    if erased:
        count_erased(database, topic, GONE, erased)
    return erased


def count_erased(database: sqlite3.Connection, topic: str, first_offset: int, erased: int) -> None:
    """Count erased records to the chunk at `first_offset`, or to `GONE`, in the transaction at hand."""
    database.execute("INSERT OR IGNORE INTO erased VALUES (?, ?, 0)", (topic, first_offset))
    add = "UPDATE erased SET record_count = record_count + ? WHERE topic = ? AND first_offset = ?"
    database.execute(add, (erased, topic, first_offset))
