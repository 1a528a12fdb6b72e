"""From an address to country and first subdivision, by MaxMind DB files on this machine."""

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, Final, NamedTuple

import maxminddb

from ingest.edge.fingerprint import Fingerprint, fingerprint
from ingest.pipeline.request import NOWHERE, Region

LOOKUPS_KEPT_MAX: Final = 16_384
"""Lookups whose answers are kept, about 4 MB."""

_SALT: Final = os.urandom(16)
_COUNTRY: Final = re.compile(r"[A-Z]{2}")
_SUBDIVISION: Final = re.compile(r"(?:[A-Z]{2}-)?([A-Z0-9]{1,3})")

Address = IPv4Address | IPv6Address


class _File:
    """One configured path: the last good reader of it, and what is wrong with it now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: Fingerprint | None = None
        self.reader: maxminddb.Reader | None = None
        self.has_v6 = False
        self.problem: str | None = None

    def reload_if_changed(self, copies_dir: Path | None) -> bool:
        """Open the file if it is not the one last tried; return whether a new reader is in use."""
        try:
            found = fingerprint(self._path)
            if found == self._seen:
                return False
            self._seen = found
            reader = _open_copy(self._path, copies_dir)
            has_v6 = reader.metadata().ip_version == 6
            written_to = fingerprint(self._path) != found
        except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
            if isinstance(error, FileNotFoundError):
                self._seen = None
            return self._stays(f"cannot be read ({type(error).__name__})")
        if written_to:  # a copy of two halves may look whole; the next call tries again
            return self._stays("is being written to")
        self.reader, self.has_v6, self.problem = reader, has_v6, None
        return True

    def _stays(self, reason: str) -> bool:
        kept = "the last good one stays in use" if self.reader else "it gives no region"
        self.problem = f"geo file {self._path}: {reason}; {kept}"
        return False


class _Loaded(NamedTuple):
    """The readers in use, with the answers they gave: all change in one step.

    `v6` leaves out the files of IPv4 alone, which raise on an IPv6 address.
    """

    v4: tuple[maxminddb.Reader, ...]
    v6: tuple[maxminddb.Reader, ...]
    answers: dict[int, Region]


class Regions:
    """Looks addresses up in the given files, in their order; without any, every address is nowhere.

    Both layouts are read: nested (`country.iso_code`, `subdivisions[0].iso_code`) and flat (`country_code`, `state1`).
    A missing or damaged file stops nothing: the last good one stays in use and `problems()` tells. Each file is read
    through a private copy (in `copies_dir`, or the system's temporary folder; its name is gone at once, its space when
    the reader is), because a mapped file that somebody writes into gives wrong answers or kills the process. What
    remains is a file with intact metadata and bits that changed inside: the native reader reports most such damage,
    but may crash on it, so files are best delivered by a checked download and a rename.

    Answers are kept under a hash of the address that is salted per process, never under the address: what is kept
    cannot be read back without the salt, which exists only in this process's memory. Python's hash of bytes is
    SipHash, 64 bits; its hash of an integer would be the integer.
    """

    def __init__(self, paths: Sequence[Path], copies_dir: Path | None = None) -> None:
        self._files = [_File(path) for path in paths]
        self._copies_dir = copies_dir
        self._failed_lookups = 0
        self._loaded = _Loaded((), (), {})
        self.reload_if_changed()

    def reload_if_changed(self) -> bool:
        """Open the files that changed (by time, size and inode) since they were last tried; return whether any was.

        Reads each changed file once, so call it in a thread beside a running event loop.
        """
        changed = [file.reload_if_changed(self._copies_dir) for file in self._files]
        if any(changed):
            self._failed_lookups = 0
            v4 = tuple(file.reader for file in self._files if file.reader)
            v6 = tuple(file.reader for file in self._files if file.reader and file.has_v6)
            self._loaded = _Loaded(v4, v6, {})
        return any(changed)

    def problems(self) -> list[str]:
        """Return what an operator should know now, one line each; empty when all is well."""
        problems = [file.problem for file in self._files if file.problem]
        if self._files and not _has_extension():
            problems.append("maxminddb runs without its C extension: a lookup takes ten times as long")
        if self._failed_lookups:
            problems.append(f"geo files: {self._failed_lookups} lookups met damaged data")
        return problems

    def lookup(self, address: Address) -> Region:
        """Return what the first file with a country for `address` says. IPv4-mapped addresses must come unwrapped."""
        v4, v6, answers = self._loaded
        key = hash(_SALT + address.packed)
        region = answers.get(key)
        if region is None:
            region = self._ask(v4 if address.version == 4 else v6, address)
            if len(answers) >= LOOKUPS_KEPT_MAX:
                del answers[next(iter(answers))]
            answers[key] = region
        return region

    def _ask(self, readers: tuple[maxminddb.Reader, ...], address: Address) -> Region:
        for reader in readers:
            try:
                region = _region_of(reader.get(address))
            except (ValueError, maxminddb.InvalidDatabaseError):
                self._failed_lookups += 1
                continue
            if region.country_code is not None:
                return region
        return NOWHERE


def _has_extension() -> bool:
    try:
        import maxminddb.extension  # noqa: F401, PLC0415 - whether it can be imported is the question
    except ImportError:
        return False
    return True


def _open_copy(path: Path, copies_dir: Path | None) -> maxminddb.Reader:
    with (
        path.open("rb") as source,
        tempfile.NamedTemporaryFile(prefix="ingest-geo-", suffix=".mmdb", dir=copies_dir) as copy,
    ):
        shutil.copyfileobj(source, copy, 1024 * 1024)
        copy.flush()
        return maxminddb.open_database(copy.name)


def _region_of(record: Any) -> Region:
    """Read either layout; absent, empty and unexpected members are all unknown."""
    if not isinstance(record, dict):
        return NOWHERE
    country = record.get("country")
    if isinstance(country, dict):
        subdivisions = record.get("subdivisions")
        first = subdivisions[0] if isinstance(subdivisions, list) and subdivisions else None
        return _checked(country.get("iso_code"), first.get("iso_code") if isinstance(first, dict) else None)
    return _checked(record.get("country_code"), record.get("state1"))


def _checked(country: Any, subdivision: Any) -> Region:
    """Keep codes only: a subdivision's name, as flat files have it, is none."""
    if not isinstance(country, str) or not _COUNTRY.fullmatch(country):
        return NOWHERE
    part = _SUBDIVISION.fullmatch(subdivision) if isinstance(subdivision, str) else None
    return Region(country, part[1] if part else None)
