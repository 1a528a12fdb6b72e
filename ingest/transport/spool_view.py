"""Looks at the spools of a machine from outside: what lies in them, whether it is sound, and what it says.

Nothing is written, so a spool may be looked at while its process fills it.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ingest.transport.contract import Delivered, Topic, Unavailable
from ingest.transport.files import FileLock, InUse
from ingest.transport.high_water import offsets_in
from ingest.transport.log_format import (
    DATABASE,
    HIGH_WATER,
    LOCK,
    Damage,
    Totals,
    bytes_used,
    connect_reader,
    next_offsets,
    oldest_ms,
    totals,
)
from ingest.transport.log_reader import LogReader
from ingest.transport.sealed import SealKeys

READ_RECORDS = 1_000


class SpoolView(NamedTuple):
    """One spool as it is now. `in_use` tells that a process holds it, `oldest_ms` the oldest record's Unix time."""

    folder: Path
    in_use: bool
    totals: Totals
    bytes_used: int
    oldest_ms: int | None
    damage: tuple[Damage, ...]


def look(folder: Path) -> SpoolView:
    """Return what a spool tells of itself. Raises `Unavailable` where it cannot be read."""
    try:
        with contextlib.closing(connect_reader(folder / DATABASE)) as database:
            damage = tuple(Damage(*row) for row in database.execute("SELECT * FROM lost ORDER BY topic, first_offset"))
            return SpoolView(
                folder,
                is_held(folder),
                totals(database),
                bytes_used(database),
                oldest_ms(database),
                damage,
            )
    except sqlite3.Error as error:
        raise Unavailable(f"the spool {folder} cannot be read: {type(error).__name__}: {error}") from None


def is_held(folder: Path) -> bool:
    """Tell whether a process has the spool."""
    try:
        FileLock(folder / LOCK, "the spool").release()
    except InUse:
        return True
    return False


def records(folder: Path, keys: SealKeys) -> Iterator[Delivered | Damage]:
    """Yield everything that waits in a spool, topic by topic, and in its place what cannot be read.

    Raises `ConfigurationError` where a key is missing, `Unavailable` where the disk does not work.
    """
    for topic in Topic:
        reader = LogReader(folder, keys, topic)
        with contextlib.closing(reader):
            position = 0
            while (found := reader.read(position, READ_RECORDS)).next_offset > position:
                position = found.next_offset
                yield from found.records
                yield from found.skipped


def faults(folder: Path, keys: SealKeys) -> Iterator[str]:
    """Open every chunk and compare every count of a spool that no process holds; yield what is wrong, a line each."""
    for each in records(folder, keys):
        if isinstance(each, Damage):
            yield str(each)
    with contextlib.closing(connect_reader(folder / DATABASE)) as database:
        count, stored = totals(database), next_offsets(database)
    if count.stored != count.deleted + count.waiting + count.lost + count.erased:
        yield (
            f"{count.stored} were stored, but {count.deleted} drained, {count.waiting} waiting, {count.lost} lost,"
            f" {count.erased} erased"
        )
    for name, end in offsets_in(folder / HIGH_WATER).items():
        if stored.get(name, 0) < end:
            yield str(Damage(name, stored.get(name, 0), end - stored.get(name, 0), "the end of the log is missing"))
