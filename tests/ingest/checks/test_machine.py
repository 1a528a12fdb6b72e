"""What is told of this machine, each with its fault."""

import os
import resource
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ingest.checks import machine
from ingest.checks.finding import Level
from ingest.checks.machine import data_folder, open_files, room
from ingest.transport.contract import ConfigurationError


class Usage(NamedTuple):
    """What `shutil.disk_usage` returns."""

    total: int
    used: int
    free: int


def levels(folder: Path) -> dict[str, Level]:
    """Return how grave what was found of a folder is, by the subject."""
    return {found.subject: found.level for found in data_folder(folder)}


def test_a_folder_that_can_be_used_is_ok_and_stays_unmade(tmp_path: Path) -> None:
    """Also one that is not there yet: its parent decides, and nothing is made."""
    wanted = tmp_path / "a" / "b"

    assert levels(tmp_path) == levels(wanted) == {"folder": Level.OK, "file system": Level.OK}
    assert not (tmp_path / "a").exists()


def test_a_file_in_the_way_is_a_fault(tmp_path: Path) -> None:
    """A folder cannot be made below a file."""
    (tmp_path / "file").touch()

    assert levels(tmp_path / "file") == {"folder": Level.FAULT}


def test_a_folder_without_rights_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this user may not write is told."""
    monkeypatch.setattr(os, "access", lambda *_: False)

    assert levels(tmp_path)["folder"] is Level.FAULT


def test_a_folder_of_somebody_else_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner may read what lies there."""
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)

    assert levels(tmp_path)["folder"] is Level.WARNING


def test_a_network_file_system_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spool needs a local disk."""

    def refuse(_folder: Path) -> None:
        raise ConfigurationError("it lies on the network file system nfs4")

    monkeypatch.setattr(machine, "refuse_network_file_system", refuse)

    assert levels(tmp_path)["file system"] is Level.FAULT


@pytest.mark.parametrize(("free", "level"), [(600, Level.OK), (599, Level.WARNING)])
def test_room_counts_what_lies_there_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: Level
) -> None:
    """A spool that holds 400 of 1000 bytes needs 600 more."""
    (tmp_path / "log.db").write_bytes(bytes(400))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10_000, 0, free))

    assert room(tmp_path, 1_000).level is level


@pytest.mark.parametrize(("limit", "level"), [(resource.RLIM_INFINITY, Level.OK), (1_024, Level.WARNING)])
def test_open_files(monkeypatch: pytest.MonkeyPatch, limit: int, level: Level) -> None:
    """Each connection is an open file."""
    limits: Any = (limit, limit)
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)

    assert open_files(1_000).level is level
