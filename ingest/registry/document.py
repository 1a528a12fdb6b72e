"""The registry as one JSON document: what the database hands out, and what an edge keeps on its disk."""

from typing import Any, NamedTuple

import msgspec

from ingest.conversion import Platform
from ingest.registry.model import App, Id, Kills, Name, Options
from ingest.registry.snapshot import RegistryError, Snapshot


class _App(msgspec.Struct, frozen=True):
    id: Id
    project_id: Id
    organization_id: Id
    name: Name | None
    environment: Id | None
    active: bool
    kill_switch: bool
    options: msgspec.Raw


class _Kills(msgspec.Struct, frozen=True, rename={"global_": "global"}):
    global_: bool
    organizations: list[Id]
    platforms: list[Platform] = []


class _Document(msgspec.Struct, frozen=True):
    version: int
    apps: list[_App]
    kills: _Kills


class Reading(NamedTuple):
    """A snapshot, and what an operator has to mend, one sentence each."""

    snapshot: Snapshot
    problems: tuple[str, ...]


def read_document(content: bytes, loaded_at_ms: int, *, complete: bool) -> Reading:
    """Read a registry document.

    An app whose options do not hold up is admitted without them, so that it is neither lost nor forwarded by mistake,
    and so that no other app and no kill switch waits for it. Raises `RegistryError` where the document as a whole does
    not hold up.
    """
    try:
        document = msgspec.json.decode(content, type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise RegistryError(("the registry document cannot be read",)) from None
    problems: list[str] = []
    apps = {entry.id: _app(entry, problems) for entry in document.apps}
    kills = _kills(document.kills)
    return Reading(Snapshot(apps, kills, loaded_at_ms, str(document.version), complete), tuple(problems))


def read_options(content: Any) -> Options:
    """Return the options in a mapping. Raises `msgspec.ValidationError`."""
    return msgspec.convert(content, Options)


def app_options(options: Options) -> dict[str, Any]:
    """Return options as a mapping, without those that have their default."""
    given: dict[str, Any] = msgspec.to_builtins(options)
    default = msgspec.to_builtins(Options())
    return {name: value for name, value in given.items() if value != default[name]}


def _kills(kills: _Kills) -> Kills:
    return Kills(kills.global_, frozenset(kills.organizations), frozenset(kills.platforms))


def _app(entry: _App, problems: list[str]) -> App:
    try:
        options = msgspec.json.decode(entry.options, type=Options)
    except msgspec.ValidationError:
        problems.append(f"the options of app {entry.id} do not hold up and are not in force")
        options = Options()
    named = {name: getattr(options, name) for name in Options.__struct_fields__}
    return App(
        id=entry.id,
        project_id=entry.project_id,
        organization_id=entry.organization_id,
        name=entry.name,
        environment=entry.environment,
        active=entry.active,
        kill_switch=entry.kill_switch,
        **named,
    )
