"""Which environment a command runs in: the process's own, on top of what a running `ingest dev` has set up."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ingest.settings import Role, Settings
from ingest.settings_rules import load

DEV_FILE: Final = "dev.env"
"""Kept in the data folder while `ingest dev` runs: the settings by which other commands find what it started."""


def environment() -> dict[str, str]:
    """Return the variables of this process, completed by those of a running `ingest dev`."""
    own = dict(os.environ)
    path = Path(own.get("INGEST_DATA_DIR", "./var")) / DEV_FILE
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines()
        own = {**dict(line.split("=", 1) for line in lines if "=" in line), **own}
    return own


def read_settings(role: Role, given: Mapping[str, str] | None = None) -> Settings:
    """Return the settings for a command. Raises `SettingsError`."""
    return load(environment() if given is None else given, role=role)
