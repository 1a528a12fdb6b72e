"""What is done when SQLite cannot read its own file: keep it, and go on with everything in it that can still be read.

The readable chunks are copied to a new database, which then takes the place of the damaged one in one rename; the
damaged file stays in the folder under the name `log.db.damaged-TIME`, for an operator to look at and to delete; the
next one takes its place, so that damage cannot fill the disk. The
copy walks the rows upwards until the first that fails, then downwards likewise; what lies between counts as lost, and
so does a chunk whose seal is broken.
"""

import contextlib
import os
import sqlite3
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any, Final

from ingest.transport.log_format import (
    Chunk,
    Damage,
    Disk,
    checkpoint,
    connect_reader,
    connect_writer,
    is_corrupt,
    open_chunk,
)
from ingest.transport.sealed import SealKeys, Tampered, UnknownKey

_INSERT: Final = "INSERT OR IGNORE INTO chunk VALUES (?, ?, ?, ?, ?, ?, ?)"
_KNOWN: Final = (
    "SELECT topic, first_offset, record_count FROM chunk UNION ALL SELECT topic, first_offset, record_count FROM lost"
)
_ENDS: Final = "SELECT name, next_offset, 0 FROM topic ORDER BY 1, 2, 3"
_KNOWN_AND_ENDS: Final = f"{_KNOWN} UNION ALL {_ENDS}"
_CHUNK_TYPES: Final = [str, int, int, int, int, str, bytes]
_REASON: Final = "the database was damaged here"


def replace_damaged(path: Path, keys: SealKeys, disk: Disk, now_ms: int) -> Path:
    """Put a sound database with what could be saved at `path`; return where the damaged one lies now.

    The gaps are entered into the new table `lost`. Raises `sqlite3.Error` or `OSError` with the old file still there.
    """
    fresh = path.with_name(f"{path.name}.salvage")
    leftovers = [*path.parent.glob(f"{fresh.name}*"), *path.parent.glob(f"{path.name}.damaged-*")]
    for leftover in leftovers:
        leftover.unlink()
    with contextlib.closing(connect_writer(fresh, disk)) as target:
        with contextlib.closing(connect_reader(path)) as source:
            _copy(source, target, keys)
        checkpoint(target, "TRUNCATE")
    aside = path.with_name(f"{path.name}.damaged-{now_ms}")
    os.link(path, aside)
    with contextlib.suppress(FileNotFoundError):
        path.with_name(f"{path.name}-wal").rename(aside.with_name(f"{aside.name}-wal"))
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    fresh.replace(path)  # only now: SQLite would apply the old WAL to the new database
    return aside


def _copy(source: sqlite3.Connection, target: sqlite3.Connection, keys: SealKeys) -> None:
    target.execute("BEGIN IMMEDIATE")
    list(_readable(source, "PRAGMA writable_schema = ON"))  # lets SQLite open a file that is shorter than it says
    for name, next_offset, deleted in _readable(source, "SELECT name, next_offset, deleted FROM topic"):
        if isinstance(name, str) and isinstance(next_offset, int) and isinstance(deleted, int):
            target.execute("INSERT OR REPLACE INTO topic VALUES (?, ?, ?)", (name, next_offset, deleted))
    for damage in _readable(source, "SELECT topic, first_offset, record_count, reason FROM lost"):
        if [*map(type, damage)] == [str, int, int, str]:
            target.execute("INSERT INTO lost VALUES (?, ?, ?, ?)", damage)
    for erased in _readable(source, "SELECT topic, first_offset, record_count FROM erased") if _knows(source) else ():
        if [*map(type, erased)] == [str, int, int]:
            target.execute("INSERT OR IGNORE INTO erased VALUES (?, ?, ?)", erased)
    for damaged in _readable(source, "SELECT * FROM aside"):
        if [*map(type, damaged)] == _CHUNK_TYPES:
            target.execute("INSERT INTO aside VALUES (?, ?, ?, ?, ?, ?, ?)", damaged)
    key_ids = {key_id for (key_id,) in _readable(source, "SELECT id FROM seal_key")} | keys.ids
    highest = -1
    for rowid, *row in _readable(source, "SELECT rowid, * FROM chunk ORDER BY rowid"):
        highest = rowid
        if _is_sound(Chunk(*row), keys, key_ids):
            target.execute(_INSERT, row)
    for rowid, *row in _readable(source, "SELECT rowid, * FROM chunk ORDER BY rowid DESC"):
        if rowid <= highest:
            break
        if _is_sound(Chunk(*row), keys, key_ids):
            target.execute(_INSERT, row)
    target.execute(
        "DELETE FROM erased WHERE first_offset >= 0 "
        "AND (topic, first_offset) NOT IN (SELECT topic, first_offset FROM chunk)"
    )
    target.execute("INSERT OR IGNORE INTO seal_key SELECT DISTINCT key_id FROM chunk")
    target.execute(
        "INSERT OR IGNORE INTO topic SELECT topic, max(first_offset + record_count), min(first_offset) "
        "FROM chunk GROUP BY topic"
    )
    for missing in (_gaps, _before_the_first):
        target.executemany("INSERT INTO lost VALUES (?, ?, ?, ?)", list(missing(target)))
    target.execute("COMMIT")


def _readable(source: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    """Yield the rows before the first that is damaged. Any other error is raised: it may pass."""
    try:
        yield from source.execute(query)
    except sqlite3.DatabaseError as error:
        if not is_corrupt(error):
            raise


def _knows(source: sqlite3.Connection) -> bool:
    """Tell whether the database has the table `erased`, which came with a later format."""
    return bool(list(_readable(source, "SELECT 1 FROM sqlite_schema WHERE name = 'erased'")))


def _is_sound(chunk: Chunk, keys: SealKeys, key_ids: Container[str]) -> bool:
    if [*map(type, chunk)] != _CHUNK_TYPES:
        return False  # a damaged row can hold anything
    try:
        open_chunk(chunk, keys)
    except Tampered:
        return False
    except UnknownKey:  # kept if the log did know it: the key may still be found
        return chunk.key_id in key_ids
    return True


def _gaps(database: sqlite3.Connection) -> Iterator[Damage]:
    """Yield what is missing between the chunks of each topic and behind its last one, and is not known to be lost."""
    rows = database.execute(_KNOWN_AND_ENDS)
    topic, expected = "", 0
    for name, first_offset, record_count in rows:
        if name == topic and first_offset > expected:
            yield Damage(name, expected, first_offset - expected, _REASON)
        topic, expected = name, max(first_offset + record_count, expected if name == topic else 0)


def _before_the_first(database: sqlite3.Connection) -> Iterator[Damage]:
    """Yield what is missing before all that is known of each topic: records are deleted from the front, and counted."""
    query = (
        "SELECT name, coalesce(min(first_offset), next_offset), next_offset - deleted - coalesce(sum(record_count), 0) "  # noqa: S608 - a constant
        f"FROM topic LEFT JOIN ({_KNOWN}) AS known ON known.topic = name GROUP BY name"
    )
    for name, first_offset, missing in database.execute(query):
        if 0 < missing <= first_offset:
            yield Damage(name, first_offset - missing, missing, _REASON)
