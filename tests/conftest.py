"""Fixtures for all tests: a real Kafka, and proof that a run leaves no process behind."""

import os
import uuid
from collections.abc import Iterator
from typing import NoReturn

import pytest

from devservices.errors import FetchFailed, JavaMissing
from devservices.kafka import KafkaCluster
from devservices.kafka_distribution import fetch
from tests.support.leftovers import leftovers, tag_this_run

_LEFTOVERS_TIMEOUT_S = 5.0
_UNAVAILABLE = pytest.StashKey[str]()


@pytest.fixture(scope="session", autouse=True)
def no_process_left_behind() -> Iterator[None]:
    """Fail the run if a process that a test started outlives it."""
    mark = tag_this_run()
    yield

    assert leftovers(mark, _LEFTOVERS_TIMEOUT_S) == []


@pytest.fixture(scope="session")
def kafka_distribution(request: pytest.FixtureRequest) -> None:
    """Provide Java and Kafka's files, for tests that start clusters of their own.

    Where they cannot be had, tests are skipped and the summary says so; with CI=true they fail instead.
    """
    try:
        fetch()
    except (JavaMissing, FetchFailed) as error:
        request.config.stash[_UNAVAILABLE] = str(error)
        _skip_or_fail(f"no real Kafka: {error}")


@pytest.fixture(scope="session")
def kafka(kafka_distribution: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:  # noqa: ARG001 - needed first
    """Provide one running broker, shared by the whole run: leave it as it was found. One that fails to start fails."""
    with KafkaCluster(tmp_path_factory.mktemp("kafka")) as cluster:
        yield cluster


@pytest.fixture
def topic_prefix() -> str:
    """Provide a value for `INGEST_TOPIC_PREFIX` that no other test uses."""
    return f"t{uuid.uuid4().hex[:12]}."


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say loudly, under the quietest settings too, that Kafka was not tested."""
    reason = config.stash.get(_UNAVAILABLE, None)
    if reason is not None:
        terminalreporter.section("KAFKA WAS NOT TESTED", sep="!", red=True, bold=True)
        terminalreporter.line(reason, red=True)


def _skip_or_fail(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
