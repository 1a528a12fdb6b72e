"""Taking the front off a chunk of the local log: what is done with goes, what stands behind it keeps its offsets.

A chunk holds what was stored in one commit, and a consumer may come to stand in the middle of it. Then it is replaced
by one that begins there, sealed anew, in one transaction. What went counts as deleted; the places of erased records in
it count as what they did before.
"""

import sqlite3
from typing import NamedTuple

from ingest.event import Record
from ingest.transport.log_erasure import count_erased, forget_places
from ingest.transport.log_format import Chunk, open_chunk, reseal
from ingest.transport.sealed import SealKeys


class Cut(NamedTuple):
    """`chunk` takes the place of the one at `first_offset` with `record_count` records.

    `erased` places of erased records are left in it.
    """

    first_offset: int
    record_count: int
    chunk: Chunk
    erased: int


def cut_below(chunk: Chunk, offset: int, keys: SealKeys) -> Cut:
    """Return what is left of `chunk` from `offset` on, which lies within it. Raises `Tampered` or `UnknownKey`."""
    headers, batches = open_chunk(chunk, keys)
    left: list[tuple[int, list[Record | None]]] = []
    begin = chunk.first_offset
    for timestamp_ms, records in batches:
        kept = records[max(0, offset - begin) :]
        begin += len(records)
        if kept:
            left.append((timestamp_ms, kept))
    times = [timestamp_ms for timestamp_ms, _ in left]
    shorter = chunk._replace(
        first_offset=offset,
        record_count=chunk.first_offset + chunk.record_count - offset,
        timestamp_min=min(times),
        timestamp_max=max(times),
    )
    erased = sum(record is None for _, records in left for record in records)
    return Cut(chunk.first_offset, chunk.record_count, reseal(shorter, headers, left, keys), erased)


def replace_by_cut(database: sqlite3.Connection, cut: Cut) -> tuple[int, int]:
    """Put what is left in the place of the chunk, in the transaction at hand.

    Return how many records went, and how many of these were erased before; nothing where the chunk is gone.
    """
    chunk = cut.chunk
    delete = "DELETE FROM chunk WHERE topic = ? AND first_offset = ? AND record_count = ?"
    if not database.execute(delete, (chunk.topic, cut.first_offset, cut.record_count)).rowcount:
        return 0, 0
    database.execute("INSERT INTO chunk VALUES (?, ?, ?, ?, ?, ?, ?)", chunk)
    gone = cut.record_count - chunk.record_count
    database.execute("UPDATE topic SET deleted = deleted + ? WHERE name = ?", (gone, chunk.topic))
    erased = forget_places(database, chunk.topic, [cut.first_offset], left=cut.erased)
    if cut.erased:
        count_erased(database, chunk.topic, chunk.first_offset, cut.erased)
    return gone, erased
