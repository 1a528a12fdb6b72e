"""The registry as a TOML file that is read again when it changes.

A file that does not hold up is refused whole: the last good snapshot stays, and the problem is told.
"""

import asyncio
import contextlib
import hashlib
import re
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import structlog

from ingest.clock import Clock
from ingest.conversion import Platform
from ingest.registry.model import App, Id, Kills
from ingest.registry.snapshot import RegistryError, Snapshot

FILE_BYTES_MAX = 32 * 1024 * 1024
PROBLEMS_MAX = 20
POLL_INTERVAL_MS = 1_000

_UNKNOWN_MEMBER = re.compile(r"Object contains unknown field `(.*?)`(?: - at `\$(.*)`)?", re.DOTALL)
_FAULT = re.compile(r"(.*?)(?: - at `\$(.*)`)?", re.DOTALL)

log = structlog.get_logger(__name__)


class _KillTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"global_": "global"}):
    global_: bool = False
    organizations: list[Id] = []
    platforms: list[Platform] = []


class _Signature(NamedTuple):
    """By what a change of the file is noticed; a missing file has none of it."""

    mtime_ns: int = 0
    size: int = -1
    inode: int = 0


def parse(content: bytes, loaded_at_ms: int) -> Snapshot:
    """Read a registry file's content.

    Raises `RegistryError` with a line and column where it is no TOML, else with the path of each member at fault, such
    as `apps.app_demo.project_id`, at most `PROBLEMS_MAX` of them.
    """
    document = _document(content)
    problems = [f"{_shown(name)}: no such member" for name in document if name not in {"apps", "kill"}]
    apps: dict[str, App] = {}
    kills = Kills()
    tables = document.get("apps", {})
    if not isinstance(tables, dict):
        problems.append("apps: expected a table")
        tables = {}
    for app_id, table in tables.items():
        try:
            apps[app_id] = _app(app_id, table)
        except msgspec.ValidationError as error:
            problems.append(_problem(f"apps.{_shown(app_id)}", str(error)))
    try:
        kill = msgspec.convert(document.get("kill", {}), _KillTable)
        kills = Kills(kill.global_, frozenset(kill.organizations), frozenset(kill.platforms))
    except msgspec.ValidationError as error:
        problems.append(_problem("kill", str(error)))
    if problems:
        raise RegistryError(tuple(problems[:PROBLEMS_MAX]))
    return Snapshot(apps, kills, loaded_at_ms, hashlib.sha256(content).hexdigest()[:16])


def read_registry(path: Path, loaded_at_ms: int) -> Snapshot:
    """Read a registry file once. Raises `RegistryError` as `parse` does, and where the file cannot be read."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise RegistryError((f"the file cannot be read: {error.strerror}",)) from None
    if len(content) > FILE_BYTES_MAX:
        raise RegistryError((f"the file is larger than {FILE_BYTES_MAX} bytes",))
    return parse(content, loaded_at_ms)


def _document(content: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError:
        reason = "the file is not UTF-8 text"
    except tomllib.TOMLDecodeError as error:
        reason = f"the file is not TOML: {error}"
    except (ValueError, RecursionError):
        reason = "the file holds a number of too many digits, or tables nested too deep"
    raise RegistryError((reason,))


def _app(app_id: str, table: Any) -> App:
    if not isinstance(table, dict):
        raise msgspec.ValidationError("Expected `object`")
    if "id" in table:
        raise msgspec.ValidationError("Object contains unknown field `id`")
    msgspec.convert(app_id, Id)
    return msgspec.convert({**table, "id": app_id}, App)


def _problem(table: str, message: str) -> str:
    """Turn a decoder's message into a position and a reason."""
    if match := _UNKNOWN_MEMBER.fullmatch(message):
        return f"{table}{match[2] or ''}.{_shown(match[1])}: no such member"
    match = _FAULT.fullmatch(message)
    reason, path = (match[1], match[2]) if match else (message, None)
    return f"{table}{path or ''}: {reason}"


def _shown(name: str) -> str:
    """Write a name of the file for a log line: short and printable."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) else ascii(name[:64])


class TomlRegistry:
    """Keeps the snapshot of one file current; looks for a change at most every `poll_interval_ms`.

    `on_change(old, new)` is called in the event loop after the swap, not for the first snapshot.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        on_change: Callable[[Snapshot, Snapshot], None] = lambda _old, _new: None,
        *,
        poll_interval_ms: int = POLL_INTERVAL_MS,
    ) -> None:
        self._path = path
        self._clock = clock
        self._on_change = on_change
        self._poll_interval_ms = poll_interval_ms
        self._snapshot = Snapshot()
        self._problems: tuple[str, ...] = ()
        self._logged: tuple[str, ...] = ()
        self._signature = _Signature()
        self._polling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load the file and watch it. Raises `RegistryError` when there is no good file to begin with."""
        self._signature = await asyncio.to_thread(self._look)
        self._snapshot = await asyncio.to_thread(self._load)
        self._polling = asyncio.create_task(self._poll(), name="registry-file")

    def current(self) -> Snapshot:
        """Return the last good snapshot."""
        return self._snapshot

    def problems(self) -> tuple[str, ...]:
        """Tell why the file as it is now was refused; empty when it is in force."""
        return self._problems

    async def close(self) -> None:
        """Stop watching."""
        polling, self._polling = self._polling, None
        if polling is not None:
            polling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await polling

    async def refresh(self) -> None:
        """Look at the file once, and take over what it says if it changed and holds up."""
        signature = await asyncio.to_thread(self._look)
        if signature == self._signature:
            return
        self._signature = signature  # taken before reading, so that a change meanwhile is seen by the next look
        try:
            loaded = await asyncio.to_thread(self._load)
        except RegistryError as error:
            self._refuse(error.problems)
            return
        self._problems = self._logged = ()
        old, self._snapshot = self._snapshot, loaded
        if old.version != loaded.version:
            self._on_change(old, loaded)

    def _refuse(self, problems: tuple[str, ...]) -> None:
        self._problems = problems
        self._snapshot = replace(self._snapshot, complete=False)
        for problem in problems:
            if problem not in self._logged:
                log.error("registry_file_refused", problem=problem)
        self._logged = problems

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_interval_ms / 1_000)
            try:
                await self.refresh()
            except Exception:
                log.exception("registry_refresh_failed")

    def _look(self) -> _Signature:
        try:
            stat = self._path.stat()
        except OSError:
            return _Signature()
        return _Signature(stat.st_mtime_ns, stat.st_size, stat.st_ino)

    def _load(self) -> Snapshot:
        return read_registry(self._path, self._clock.now_ms())
