"""The keys of the vault, for the processes that open it."""

from pathlib import Path
from typing import Final

from ingest.settings import Settings
from ingest.transport.sealed import SealKeys
from ingest.wiring.transport import read_keys

KEY_FILE: Final = "vault.key"


def vault_keys(settings: Settings) -> SealKeys:
    """Return the keys of the vault: the configured ones, else those that `ingest dev` keeps in the data folder.

    Raises `ConfigurationError` where there are none.
    """
    return read_keys(settings.vault_key, vault_key_path(settings), "INGEST_VAULT_KEY")


def vault_key_path(settings: Settings) -> Path:
    """Return where `ingest dev` keeps the key that it generated."""
    return settings.data_dir / KEY_FILE
