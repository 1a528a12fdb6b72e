"""The registry at one moment, immutable, and the interface behind which it is kept current."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, NamedTuple, Protocol

from ingest.registry.ladder import refusal
from ingest.registry.model import App, Kills

NO_KILLS = Kills()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All apps and kill switches as of `loaded_at_ms` (Unix time). Equal content has an equal `version`.

    `complete` is false while the source holds something newer that cannot be read. `admitted` are the apps that may
    send now; it follows from the rest.
    """

    apps: Mapping[str, App] = field(default_factory=dict)
    kills: Kills = NO_KILLS
    loaded_at_ms: int = 0
    version: str = "empty"
    complete: bool = True
    admitted: Mapping[str, App] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        may_send = {id_: app for id_, app in self.apps.items() if refusal(app, self.kills, complete=True) is None}
        object.__setattr__(self, "apps", MappingProxyType(dict(self.apps)))
        object.__setattr__(self, "admitted", MappingProxyType(may_send))


class Registry(Protocol):
    """Keeps a snapshot current. One event loop calls all methods."""

    async def start(self) -> None:
        """Load the first snapshot and keep it current from then on. Raises `RegistryError` where there is none."""

    def current(self) -> Snapshot:
        """Return the last good snapshot; never waits."""

    def problems(self) -> tuple[str, ...]:
        """Tell an operator what is wrong now, one sentence each, without any configured value."""

    async def close(self) -> None:
        """Stop keeping the snapshot current; the last one stays readable."""


class RegistryError(Exception):
    """The source cannot be used; `problems` tell where and why, with names and positions but no values."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class FixedRegistry:
    """A registry that never changes."""

    def __init__(self, snapshot: Snapshot, problems: tuple[str, ...] = ()) -> None:
        self._snapshot = snapshot
        self._problems = problems

    async def start(self) -> None:
        """Do nothing: the snapshot is there."""

    def current(self) -> Snapshot:
        """Return the snapshot."""
        return self._snapshot

    def problems(self) -> tuple[str, ...]:
        """Return what was given."""
        return self._problems

    async def close(self) -> None:
        """Do nothing."""


def unconfigured() -> FixedRegistry:
    """Make the registry of an edge without a source: it knows no app, and says so."""
    return FixedRegistry(
        Snapshot(), ("neither INGEST_POSTGRES_DSN nor INGEST_APPS_FILE is set: every sender is answered 401",)
    )


class Change(NamedTuple):
    """A kill switch that was turned: `id` is empty for the global one. That of a platform refuses no sender."""

    scope: Literal["key", "organization", "global", "platform"]
    id: str
    killed: bool


def changes(old: Snapshot, new: Snapshot) -> list[Change]:
    """List the kill switches that differ, widest first. An app that is gone counts as not killed."""
    turned = [Change("global", "", new.kills.global_)] if old.kills.global_ != new.kills.global_ else []
    organizations, platforms = new.kills.organizations, new.kills.platforms
    turned += [
        Change("organization", id_, id_ in organizations) for id_ in sorted(old.kills.organizations ^ organizations)
    ]
    turned += [Change("platform", id_, id_ in platforms) for id_ in sorted(old.kills.platforms ^ platforms)]
    killed = _killed(new.apps.values())
    turned += [Change("key", id_, id_ in killed) for id_ in sorted(_killed(old.apps.values()) ^ killed)]
    return turned


def _killed(apps: Iterable[App]) -> set[str]:
    return {app.id for app in apps if app.kill_switch}
