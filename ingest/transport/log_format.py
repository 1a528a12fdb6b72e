"""The disk format of the local log: what lies where, why it survives, and how it is opened.

What it must do: keep every acknowledged record through kill -9 and power loss, in order, under numbers that are never
used twice; notice what a disk lost; go on by itself when the disk works again; leave nothing readable without the key.

The folder (mode 0700, its files 0600):

    log.db, log.db-wal, log.db-shm   the records, SQLite in WAL mode
    high-water                       how far anything was acknowledged, see `high_water`
    lock                             held by the one process that writes
    cursors/GROUP.TOPIC              how far a consumer group has come, one small file each
    log.db.damaged-TIME              a database that SQLite could not read, see `salvage`

Tables. One commit writes one row of `chunk` per topic, however many callers waited for it:

    chunk(topic, first_offset, record_count, timestamp_min, timestamp_max, key_id, sealed)
    topic(name, next_offset, deleted)         outlives the chunks, so that a trimmed log goes on counting
    lost(topic, first_offset, record_count, reason)  offsets that can no longer be read, as noticed
    erased(topic, first_offset, record_count) so many records of the chunk that begins there, or with -1 of chunks that
                                              are gone, were erased
    aside(as chunk)                           chunks that were found damaged, kept for whoever wants to look at them
    seal_key(id)                              keys that may have sealed a chunk, so that a wrong key is noticed at once

Offsets count records from 0 in each topic, without gaps but for those that `lost` names. So in each topic
next_offset = deleted + records in chunks + records in `lost`, and each transaction keeps that true. An erased record
counts as what its place is counted as.

A chunk is MessagePack, `[headers, [[timestamp_ms, [[key, value], ...]], ...]]`, sealed with AES-256-GCM. In the place
of a record that was erased stands nil: it keeps its offset, and readers step over it. One transaction replaces such a
chunk by the new one, sealed anew, under the same offsets and timestamps; a crash leaves the one or the other. A chunk
of which the first records are done with is likewise replaced by one that begins behind them, see `log_cut`.

Topic, first offset, count and both timestamps are bound to the seal: a chunk that was moved, swapped or edited does not
open. Such a chunk is skipped by readers and reported by its range of offsets. It stays where it is until its retention
ends or, where the log is drained, until it is set aside.

Order of a commit: insert, commit (synced by SQLite), raise the high-water mark (synced), acknowledge. So the mark is
never above what was stored, and a log that ends below its mark has lost acknowledged records: a WAL file that was
deleted or whose damaged page made SQLite ignore the rest, an old copy put back. Counting then goes on at the mark.

After any error of a write the connection is closed and nothing in memory is believed. Opening copies the whole WAL into
the database and empties it first: after a failed sync the kernel may hold pages as clean that never reached the disk,
and a commit appended behind such pages would vanish with them.

Only the writer's connection ever writes or checkpoints (SQLite before 3.51.3 can corrupt a database when two do so at
once); the lock keeps it single, readers open with `mode=ro`.
"""

import sqlite3
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from ingest.event import Record
from ingest.transport.contract import SCHEMA, ConfigurationError
from ingest.transport.high_water import Sync, sync_data
from ingest.transport.sealed import Sealed, SealKeys, Tampered

DATABASE: Final = "log.db"
HIGH_WATER: Final = "high-water"
LOCK: Final = "lock"
CURSORS: Final = "cursors"

VERSION: Final = 3
VERSION_MIN: Final = 2
"""The oldest format that is read: it knows no erased records, and its writer makes it the newest at the start."""

SEAL_VERSION: Final = 2
SQLITE_MIN: Final = (3, 37)  # STRICT tables, RETURNING
PAGE_BYTES: Final = 16384
READER_WAIT_S: Final = 0.25
"""Longest wait of the writer for a reader that keeps it from emptying the WAL; publishes wait with it."""

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS chunk (
    topic TEXT NOT NULL, first_offset INTEGER NOT NULL, record_count INTEGER NOT NULL,
    timestamp_min INTEGER NOT NULL, timestamp_max INTEGER NOT NULL,
    key_id TEXT NOT NULL, sealed BLOB NOT NULL,
    PRIMARY KEY (topic, first_offset)
) STRICT;
CREATE INDEX IF NOT EXISTS chunk_by_age ON chunk (topic, timestamp_max);
CREATE TABLE IF NOT EXISTS topic (
    name TEXT PRIMARY KEY, next_offset INTEGER NOT NULL, deleted INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS lost (
    topic TEXT NOT NULL, first_offset INTEGER NOT NULL, record_count INTEGER NOT NULL, reason TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS erased (
    topic TEXT NOT NULL, first_offset INTEGER NOT NULL, record_count INTEGER NOT NULL,
    PRIMARY KEY (topic, first_offset)
) STRICT;
CREATE TABLE IF NOT EXISTS aside (
    topic TEXT NOT NULL, first_offset INTEGER NOT NULL, record_count INTEGER NOT NULL,
    timestamp_min INTEGER NOT NULL, timestamp_max INTEGER NOT NULL,
    key_id TEXT NOT NULL, sealed BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS seal_key (id TEXT PRIMARY KEY) STRICT;
"""

_WRITER_PRAGMAS: Final = (
    f"page_size = {PAGE_BYTES}",  # chunks are tens to hundreds of KB: fewer pages, less work per byte
    "journal_mode = WAL",  # one sync per commit, and readers never wait for the writer
    "synchronous = FULL",  # a commit returns only once the WAL is on stable storage
    "fullfsync = ON",  # on macOS a plain fsync leaves data in the drive's cache; elsewhere without effect
    "checkpoint_fullfsync = ON",
    "wal_autocheckpoint = 0",  # checkpoints run after the acknowledgements, not inside of a commit
    "secure_delete = ON",  # a deleted chunk is overwritten: retention is a promise about bytes
    "cell_size_check = ON",  # notice a damaged page when it is read, not when it has done harm
    "trusted_schema = OFF",
    "temp_store = MEMORY",
)


class Disk(NamedTuple):
    """How the log reaches the disk; tests put failing ones in their place."""

    connection: type[sqlite3.Connection] = sqlite3.Connection
    sync: Sync = sync_data


class Damage(NamedTuple):
    """`record_count` records of `topic` from `first_offset` on that can no longer be read."""

    topic: str
    first_offset: int
    record_count: int
    reason: str

    def __str__(self) -> str:
        return f"{self.topic} {self.first_offset}..{self.first_offset + self.record_count - 1}: {self.reason}"


class Batch(NamedTuple):
    """What one caller published: `records` is the MessagePack of its `record_count` records."""

    timestamp_ms: int
    record_count: int
    records: bytes


class Totals(NamedTuple):
    """What became of all records that were ever stored here: stored = deleted + waiting + lost + erased.

    `deleted` went behind their acknowledgement or their retention, `waiting` are there, `lost` cannot be read any more,
    `erased` were taken out because of whom they are about.
    """

    stored: int = 0
    deleted: int = 0
    waiting: int = 0
    lost: int = 0
    erased: int = 0

    def __add__(self, other: "Totals") -> "Totals":  # type: ignore[override]
        return Totals(*map(sum, zip(self, other, strict=True)))


class Chunk(NamedTuple):
    """One row of the table `chunk`."""

    topic: str
    first_offset: int
    record_count: int
    timestamp_min: int
    timestamp_max: int
    key_id: str
    sealed: bytes


Headers = tuple[tuple[str, bytes], ...]
Contents = list[tuple[int, list[Record | None]]]
"""Per caller the timestamp and the records, None for each that was erased."""

Covers = Callable[[bytes], bool]
"""Tells of the value of a record whether it must go. It is asked from any thread."""

encode_records = msgspec.msgpack.Encoder().encode
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[Headers, Contents]).decode
_BOUND: Final = struct.Struct(">BQQqq")


def seal_chunk(topic: str, first_offset: int, batches: Sequence[Batch], keys: SealKeys) -> Chunk:
    """Put `batches` into one sealed chunk whose first record gets `first_offset`."""
    record_count = sum([batch.record_count for batch in batches])
    times = [batch.timestamp_ms for batch in batches]
    plaintext = _encode((SCHEMA, [(batch.timestamp_ms, msgspec.Raw(batch.records)) for batch in batches]))
    oldest, newest = min(times), max(times)
    sealed = keys.seal(plaintext, _bound(topic, first_offset, record_count, oldest, newest))
    return Chunk(topic, first_offset, record_count, oldest, newest, sealed.key_id, sealed.box)


def open_chunk(chunk: Chunk, keys: SealKeys) -> tuple[Headers, Contents]:
    """Return the headers and what lies in the chunk. Raises `Tampered` or `UnknownKey`."""
    return _decode(keys.open(Sealed(chunk.key_id, chunk.sealed), _bound_to(chunk)))


def without(chunk: Chunk, covers: Covers, keys: SealKeys) -> tuple[Chunk, int]:
    """Return `chunk` without the records that `covers` holds for, sealed anew, and how many these are.

    Where there are none it is the same chunk. Raises as `open_chunk` does.
    """
    headers, batches = open_chunk(chunk, keys)
    erased = 0
    for _, records in batches:
        for index, record in enumerate(records):
            if record is not None and covers(record.value):
                records[index] = None
                erased += 1
    if not erased:
        return chunk, 0
    return reseal(chunk, headers, batches, keys), erased


def reseal(chunk: Chunk, headers: Headers, contents: Contents, keys: SealKeys) -> Chunk:
    """Return `chunk` with other contents, whose count and times it tells already."""
    sealed = keys.seal(_encode((headers, contents)), _bound_to(chunk))
    return chunk._replace(key_id=sealed.key_id, sealed=sealed.box)


def _bound_to(chunk: Chunk) -> bytes:
    try:
        return _bound(chunk.topic, chunk.first_offset, chunk.record_count, chunk.timestamp_min, chunk.timestamp_max)
    except struct.error:
        raise Tampered("a figure is out of range") from None


def _bound(topic: str, first_offset: int, record_count: int, timestamp_min: int, timestamp_max: int) -> bytes:
    return _BOUND.pack(SEAL_VERSION, first_offset, record_count, timestamp_min, timestamp_max) + topic.encode()


def connect_writer(path: Path, disk: Disk) -> sqlite3.Connection:
    """Open or create the database for its one writer, with an empty WAL. Raises `sqlite3.Error` or `OSError`."""
    if sqlite3.sqlite_version_info < SQLITE_MIN:
        raise ConfigurationError(f"SQLite {sqlite3.sqlite_version} is too old for the local log")
    if not path.exists():
        path.touch(mode=0o600)  # SQLite gives its -wal and -shm files the same mode
    database = sqlite3.connect(path, isolation_level=None, timeout=READER_WAIT_S, factory=disk.connection)
    try:
        for pragma in _WRITER_PRAGMAS:
            database.execute(f"PRAGMA {pragma}").fetchall()
        is_older = format_version(database) < VERSION
        _recover(database)
        if is_older:
            database.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {VERSION}; COMMIT;")
    except BaseException:
        database.close()
        raise
    return database


def _recover(database: sqlite3.Connection) -> None:
    if checkpoint(database, "TRUNCATE"):
        raise sqlite3.OperationalError("a reader holds on to the log, which keeps it from being recovered")


def format_version(database: sqlite3.Connection) -> int:
    """Return the version of the format, 0 for an empty file. Raises `ConfigurationError` for one not known here."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version and not VERSION_MIN <= version <= VERSION:
        raise ConfigurationError(f"the log has format {version}; this program reads format {VERSION_MIN} to {VERSION}")
    return int(version)


def connect_reader(path: Path) -> sqlite3.Connection:
    """Open the database to read only: it never writes and never checkpoints. Raises `sqlite3.Error`."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    database = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=1.0, check_same_thread=False)
    database.execute("PRAGMA query_only = ON")
    database.text_factory = lambda data: data.decode(errors="replace")  # a damaged name is no reason to stop
    return database


def checkpoint(database: sqlite3.Connection, mode: str) -> bool:
    """Copy the WAL into the database; `mode` as SQLite names it. Return whether a reader kept it from finishing."""
    (busy, _, _) = database.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
    return bool(busy)


def check_keys(database: sqlite3.Connection, keys: SealKeys) -> None:
    """Raise `ConfigurationError` when a chunk is sealed with a key that was not given."""
    used = [key_id for (key_id,) in database.execute("SELECT id FROM seal_key") if key_id not in keys.ids]
    query = "SELECT 1 FROM chunk WHERE key_id = ? LIMIT 1"
    unknown = [key_id for key_id in used if database.execute(query, (key_id,)).fetchone()]
    if unknown:
        raise ConfigurationError(f"the log holds records sealed with other keys than given: {', '.join(unknown)}")


def is_corrupt(error: BaseException) -> bool:
    """Tell whether SQLite found the file itself to be damaged, which no waiting mends."""
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(code, int) and code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def next_offsets(database: sqlite3.Connection) -> Mapping[str, int]:
    """Return where each topic goes on by the tables: behind its last chunk or, with all chunks gone, as remembered."""
    offsets = dict(database.execute("SELECT name, next_offset FROM topic"))
    last = "SELECT first_offset + record_count FROM chunk WHERE topic = ? ORDER BY first_offset DESC LIMIT 1"
    for topic, remembered in offsets.items():
        (behind_chunks,) = database.execute(last, (topic,)).fetchone() or (0,)
        offsets[topic] = max(remembered, behind_chunks)
    return offsets


def commit(
    database: sqlite3.Connection, chunks: Sequence[Chunk], offsets: Mapping[str, int], lost: Sequence[Damage] = ()
) -> None:
    """Write everything in one transaction: the next offset of each topic in `offsets`, and the rows. Syncs once.

    Raises `sqlite3.Error` with the transaction still open; closing the connection rolls it back.
    """
    database.execute("BEGIN IMMEDIATE")
    database.executemany("INSERT INTO chunk VALUES (?, ?, ?, ?, ?, ?, ?)", chunks)
    database.executemany("INSERT INTO lost VALUES (?, ?, ?, ?)", lost)
    raise_offset = "INSERT INTO topic (name, next_offset) VALUES (?, ?)"
    on_conflict = "ON CONFLICT (name) DO UPDATE SET next_offset = excluded.next_offset"
    database.executemany(f"{raise_offset} {on_conflict}", offsets.items())
    database.execute("COMMIT")


def totals(database: sqlite3.Connection) -> Totals:
    """Count what the tables hold, over all topics. Raises `sqlite3.Error`."""
    counts = (
        "SELECT coalesce(sum(next_offset), 0) FROM topic",
        "SELECT coalesce(sum(deleted), 0) FROM topic",
        "SELECT coalesce(sum(record_count), 0) FROM chunk",
        "SELECT coalesce(sum(record_count), 0) FROM lost",
        "SELECT coalesce(sum(record_count), 0) FROM erased WHERE first_offset >= 0",
        "SELECT coalesce(sum(record_count), 0) FROM erased WHERE first_offset < 0",  # of chunks that are gone
    )
    known = counts if format_version(database) == VERSION else counts[:4]
    found = [int(database.execute(count).fetchone()[0]) for count in known]
    stored, deleted, present, lost, erased, erased_before = [*found, 0, 0][:6]
    return Totals(stored, deleted - erased_before, present - erased, lost, erased + erased_before)


def bytes_used(database: sqlite3.Connection) -> int:
    """Return the size of what the database holds, without the pages that are free. Raises `sqlite3.Error`."""
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    (free,) = database.execute("PRAGMA freelist_count").fetchone()
    return int(pages - free) * PAGE_BYTES


_NOT_EMPTY: Final = """WHERE (topic, first_offset) NOT IN (
    SELECT topic, first_offset FROM erased JOIN chunk USING (topic, first_offset, record_count))
"""  # chunks of which all records were erased


def oldest_ms(database: sqlite3.Connection) -> int | None:
    """Return the Unix time of the oldest record that is there, None where there is none. Raises `sqlite3.Error`."""
    firsts = f"SELECT topic, min(first_offset) FROM chunk {_NOT_EMPTY} GROUP BY topic"  # noqa: S608 - a constant
    if format_version(database) < VERSION:
        firsts = "SELECT topic, min(first_offset) FROM chunk GROUP BY topic"
    oldest = f"SELECT min(timestamp_min) FROM chunk WHERE (topic, first_offset) IN ({firsts})"  # noqa: S608 - constants
    (found,) = database.execute(oldest).fetchone()
    return None if found is None else int(found)
