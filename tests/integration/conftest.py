"""Services that a test has to itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from devservices.valkey import ValkeyServer


@pytest.fixture
def own_valkey(valkey_programs: None, tmp_path: Path) -> Iterator[ValkeyServer]:  # noqa: ARG001 - needed first
    """Provide a running Valkey that the test may hurt."""
    with ValkeyServer(tmp_path) as server:
        yield server
