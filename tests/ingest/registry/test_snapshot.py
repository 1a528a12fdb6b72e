"""Snapshots: immutable, comparable for kill switches."""

import asyncio
from dataclasses import FrozenInstanceError

import pytest

from ingest.conversion import Platform
from ingest.registry.model import App, Kills
from ingest.registry.snapshot import Change, RegistryError, Snapshot, changes, unconfigured


def snapshot(*killed: str, alive: tuple[str, ...] = (), kills: Kills | None = None) -> Snapshot:
    """Make a snapshot of killed and other apps."""
    apps = {
        id_: App(id=id_, project_id="p", organization_id="o", kill_switch=id_ in killed) for id_ in (*killed, *alive)
    }
    return Snapshot(apps, kills or Kills())


def test_a_snapshot_cannot_be_changed() -> None:
    """Neither its members nor its apps, nor the mapping it was made from, change it."""
    source = {"a": App(id="a", project_id="p", organization_id="o")}
    made = Snapshot(source)
    source.clear()
    assert set(made.apps) == set(made.admitted) == {"a"}
    with pytest.raises(FrozenInstanceError):
        made.version = "x"  # type: ignore[misc]
    with pytest.raises(TypeError):
        made.apps["b"] = made.apps["a"]  # type: ignore[index]
    with pytest.raises(AttributeError):
        made.apps["a"].active = False  # type: ignore[misc]


def test_changes() -> None:
    """Every switch that was turned is listed once with its new position; an app that is gone is not killed any more."""
    old = snapshot(
        "a",
        "gone",
        alive=("b",),
        kills=Kills(organizations=frozenset({"o1", "o2"}), platforms=frozenset({Platform.META})),
    )
    new = snapshot(
        "b",
        "new",
        alive=("a",),
        kills=Kills(global_=True, organizations=frozenset({"o2", "o3"}), platforms=frozenset({Platform.TIKTOK})),
    )
    assert changes(old, new) == [
        Change("global", "", killed=True),
        Change("organization", "o1", killed=False),
        Change("organization", "o3", killed=True),
        Change("platform", "meta", killed=False),
        Change("platform", "tiktok", killed=True),
        Change("key", "a", killed=False),
        Change("key", "b", killed=True),
        Change("key", "gone", killed=False),
        Change("key", "new", killed=True),
    ]
    assert changes(new, new) == []


def test_unconfigured_registry_tells_so() -> None:
    """Without a source no app is known, and the problem names the setting."""
    registry = unconfigured()
    asyncio.run(registry.start())
    assert registry.current().apps == {}
    assert "INGEST_APPS_FILE" in registry.problems()[0]
    asyncio.run(registry.close())


def test_registry_error_tells_all_problems() -> None:
    """The error's text holds every problem."""
    assert str(RegistryError(("one", "two"))) == "one; two"
