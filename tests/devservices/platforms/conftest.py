"""Fake platforms of a test's own, with a clock that it moves."""

from collections.abc import Iterator

import pytest

from devservices.platforms.fake import FakePlatforms
from tests.devservices.platforms.wire import Client, Clock, client_of


@pytest.fixture
def clock() -> Clock:
    """Provide the platforms' clock."""
    return Clock()


@pytest.fixture
def platforms(clock: Clock) -> Iterator[FakePlatforms]:
    """Provide running fake platforms that have seen nothing."""
    with FakePlatforms(now=clock) as running:
        yield running


@pytest.fixture
def client(platforms: FakePlatforms) -> Iterator[Client]:
    """Provide a sender."""
    with client_of(platforms) as connected:
        yield connected
