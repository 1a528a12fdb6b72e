"""Fixtures for all tests: real Kafka, PostgreSQL and Valkey, and proof that a run leaves no process behind."""

import os
import uuid
from collections.abc import Iterator
from typing import NoReturn

import pytest
import redis

from devservices.errors import FetchFailed, JavaMissing, ProgramMissing
from devservices.kafka import KafkaCluster
from devservices.kafka_distribution import fetch
from devservices.postgres import PostgresServer, create_database, drop_database
from devservices.postgres_programs import find_programs
from devservices.valkey import ValkeyServer, valkey_program
from tests.support.leftovers import leftovers, tag_this_run

_LEFTOVERS_TIMEOUT_S = 5.0
_UNAVAILABLE = pytest.StashKey[dict[str, str]]()


@pytest.fixture(scope="session", autouse=True)
def no_process_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail the run if a process that a test started outlives it."""
    mark = tag_this_run()
    yield

    assert leftovers(mark, tmp_path_factory.getbasetemp(), _LEFTOVERS_TIMEOUT_S) == []


@pytest.fixture(scope="session")
def kafka_distribution(request: pytest.FixtureRequest) -> None:
    """Provide Java and Kafka's files, for tests that start clusters of their own.

    Where they cannot be had, tests are skipped and the summary says so; with CI=true they fail instead.
    """
    try:
        fetch()
    except (JavaMissing, FetchFailed) as error:
        _skip_or_fail(request.config, "Kafka", error)


@pytest.fixture(scope="session")
def kafka(kafka_distribution: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:  # noqa: ARG001 - needed first
    """Provide one running broker, shared by the whole run: leave it as it was found. One that fails to start fails."""
    with KafkaCluster(tmp_path_factory.mktemp("kafka")) as cluster:
        yield cluster


@pytest.fixture
def topic_prefix() -> str:
    """Provide a value for `INGEST_TOPIC_PREFIX` that no other test uses."""
    return f"t{uuid.uuid4().hex[:12]}."


@pytest.fixture(scope="session")
def postgres_programs(request: pytest.FixtureRequest) -> None:
    """Provide PostgreSQL's programs, for tests that start servers of their own; without them as without Kafka's."""
    try:
        find_programs()
    except ProgramMissing as error:
        _skip_or_fail(request.config, "PostgreSQL", error)


@pytest.fixture(scope="session")
def postgres_server(
    postgres_programs: None,  # noqa: ARG001 - needed first
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[PostgresServer]:
    """Provide one running PostgreSQL, shared by the whole run: leave it as it was found."""
    with PostgresServer(tmp_path_factory.mktemp("postgres"), durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def superuser_dsn(request: pytest.FixtureRequest) -> str:
    """Provide the superuser's DSN of `DEVSERVICES_POSTGRES_DSN`, else of a PostgreSQL started for the run."""
    given = os.environ.get("DEVSERVICES_POSTGRES_DSN")
    if given:
        return given
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.superuser_dsn


@pytest.fixture
def database(superuser_dsn: str) -> Iterator[str]:
    """Provide the superuser's DSN of an empty database that is dropped after the test."""
    name = f"t{uuid.uuid4().hex[:12]}"
    yield create_database(superuser_dsn, name)

    drop_database(superuser_dsn, name)


@pytest.fixture(scope="session")
def valkey_programs(request: pytest.FixtureRequest) -> None:
    """Provide Valkey's program, for tests that start servers of their own; without it as without Kafka's."""
    try:
        valkey_program()
    except ProgramMissing as error:
        _skip_or_fail(request.config, "Valkey", error)


@pytest.fixture(scope="session")
def valkey_server(
    valkey_programs: None,  # noqa: ARG001 - needed first
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ValkeyServer]:
    """Provide one running Valkey, shared by the whole run: leave it as it was found."""
    with ValkeyServer(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def valkey_url(request: pytest.FixtureRequest) -> str:
    """Provide the URL of an empty database: that of `DEVSERVICES_REDIS_URL`, else of a Valkey started for the run."""
    url = os.environ.get("DEVSERVICES_REDIS_URL")
    if not url:
        server: ValkeyServer = request.getfixturevalue("valkey_server")
        url = server.url
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say loudly, under the quietest settings too, which services were not tested."""
    for service, reason in config.stash.get(_UNAVAILABLE, {}).items():
        terminalreporter.section(f"{service.upper()} WAS NOT TESTED", sep="!", red=True, bold=True)
        terminalreporter.line(reason, red=True)


def _skip_or_fail(config: pytest.Config, service: str, error: Exception) -> NoReturn:
    config.stash.setdefault(_UNAVAILABLE, {})[service] = str(error)
    reason = f"no real {service}: {error}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
