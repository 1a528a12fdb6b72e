"""Reading declared settings from a mapping of environment variables, with every fault found in one pass.

A name or the value of a setting that is no secret may appear in a message; a secret's value never does.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingest.setting import KIB, Setting

PREFIX = "INGEST_"
SECRET_FILE_BYTES_MAX = 64 * KIB
SHOWN_CHARACTERS_MAX = 60

_INJECTED_NAME = re.compile(
    r"INGEST_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_INJECTED_VALUE = re.compile(r"(?:tcp|udp|sctp)://.*")
_INJECTED_ADVICE = (
    "set by the orchestrator because a service is called `ingest`, not by you: put `enableServiceLinks: false` into the"
    " pod's spec, or rename the service"
)


@dataclass(frozen=True, slots=True)
class Declared:
    """A setting with the names under which it is known to operators and to the code."""

    name: str
    field: str
    setting: Setting
    default: Any

    @property
    def file_name(self) -> str | None:
        """The variable that may name a file with the value instead, for secrets."""
        return f"{self.name}_FILE" if self.setting.secret else None

    def show(self, value: Any) -> str:
        """Write a value for an operator: a secret as `set` or `unset`."""
        if value is None or value == ():
            return self.setting.unset
        return "set" if self.setting.secret else self.setting.kind.show(value)


@dataclass(slots=True)
class Reading:
    """What was found: values by field, one sentence per fault, and the variables that have one."""

    values: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    faulty: set[str] = field(default_factory=set)

    def refuse(self, name: str, reason: str) -> None:
        """Note a fault of one variable."""
        self.faults.append(f"{name}: {reason}")
        self.faulty.add(name)


def read(environ: Mapping[str, str], declared: Iterable[Declared]) -> Reading:
    """Read every declared setting; an empty variable counts as unset.

    Files are read only where the `_FILE` variant of a secret names one.
    """
    given = {name: text.strip() for name, text in environ.items() if name.startswith(PREFIX)}
    reading = Reading()
    entries = {entry.name: entry for entry in declared}
    names = set(entries) | {entry.file_name for entry in entries.values() if entry.file_name}
    _refuse_injected(given, names, reading)
    _refuse_unknown(given, names, reading)
    for entry in entries.values():
        if entry.name not in reading.faulty:
            _read_one(given, entry, reading)
    return reading


def _refuse_injected(given: dict[str, str], names: set[str], reading: Reading) -> None:
    injected = [
        name
        for name, text in sorted(given.items())
        if (name not in names and _INJECTED_NAME.fullmatch(name))
        or (name.endswith("PORT") and _INJECTED_VALUE.fullmatch(text))
    ]
    if injected:
        reading.refuse(", ".join(injected), _INJECTED_ADVICE)
        reading.faulty.update(injected)


def _refuse_unknown(given: dict[str, str], names: set[str], reading: Reading) -> None:
    bare = {name.removeprefix(PREFIX): name for name in names}
    for name in sorted(given):
        if name in names or name in reading.faulty:
            continue
        near = difflib.get_close_matches(name.removeprefix(PREFIX), bare, n=1)
        reading.refuse(name, "there is no such setting" + (f"; did you mean {bare[near[0]]}?" if near else ""))


def _read_one(given: dict[str, str], entry: Declared, reading: Reading) -> None:
    text, source = given.get(entry.name, ""), entry.name
    if entry.file_name and (path := given.get(entry.file_name)):
        if text:
            reading.refuse(entry.name, f"given together with {entry.file_name}; give one of them")
            return
        source = entry.file_name
        try:
            text = _secret_from(Path(path))
        except ValueError as error:
            reading.refuse(source, str(error))
            reading.faulty.add(entry.name)
            return
    if not text:
        return
    try:
        reading.values[entry.field] = entry.setting.kind.parse(text)
    except ValueError:
        reading.refuse(source, f"expected {entry.setting.kind.expected}{_got(entry, text)}")
        reading.faulty.add(entry.name)


def _secret_from(path: Path) -> str:
    """Read a secret's file, stripped. Raises `ValueError` with a reason that holds neither path nor content."""
    try:
        with path.open("rb") as file:
            content = file.read(SECRET_FILE_BYTES_MAX + 1)
        text = content.decode().strip()
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError("the file is not UTF-8 text") from None
    if not text:
        raise ValueError("the file is empty")
    if len(content) > SECRET_FILE_BYTES_MAX:
        raise ValueError(f"the file is larger than {SECRET_FILE_BYTES_MAX} bytes")
    return text


def _got(entry: Declared, text: str) -> str:
    if entry.setting.secret:
        return ""
    return f", got {text[:SHOWN_CHARACTERS_MAX]!r}"
