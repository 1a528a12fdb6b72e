"""Services that a test or a module has to itself."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from devservices.kafka import KafkaCluster
from devservices.postgres import PostgresServer
from devservices.valkey import ValkeyServer
from tests.integration.edge import await_true, figures
from tests.integration.partner import Operators, Site, Store, open_store, serving_processes, site_settings
from tests.support.control import Plane, plane
from tests.support.service import ServiceProcess


@pytest.fixture
def own_valkey(valkey_programs: None, tmp_path: Path) -> Iterator[ValkeyServer]:  # noqa: ARG001 - needed first
    """Provide a running Valkey that the test may hurt."""
    with ValkeyServer(tmp_path) as server:
        yield server


@pytest.fixture(scope="module")
def store(superuser_dsn: str) -> Iterator[Store]:
    """Provide a migrated database with its logins, for one module."""
    with open_store(superuser_dsn) as made:
        yield made


@pytest.fixture(scope="module")
def module_valkey(valkey_programs: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:  # noqa: ARG001 - needed first
    """Provide a running Valkey of one module's own."""
    with ValkeyServer(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="module")
def one_worker(store: Store, module_valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run one serving process on the local log, its database reached with the rights of serving alone."""
    env = site_settings(store, module_valkey)
    folder = tmp_path_factory.mktemp("edge")
    with ServiceProcess(env, folder=folder) as service:
        yield Site(service, Operators(store.owner), module_valkey, store, folder)


@pytest.fixture(scope="module")
def two_workers(
    store: Store, module_valkey: ValkeyServer, kafka: KafkaCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """Run two serving processes on Kafka, their database reached with the rights of serving alone."""
    env = {
        **site_settings(store, module_valkey),
        "INGEST_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "INGEST_KAFKA_ALLOW_SINGLE_COPY": "true",
        "INGEST_TOPIC_PREFIX": f"t{uuid.uuid4().hex[:12]}.",
        "INGEST_WORKERS": "2",
    }
    folder = tmp_path_factory.mktemp("edge")
    with ServiceProcess(env, folder=folder) as service:
        await_true(lambda: figures(service).get("ingest_transport_ok", 0) == 1, "both serve")
        await_true(lambda: len(serving_processes(service)) == 2, "both run")
        yield Site(service, Operators(store.owner), module_valkey, store, folder)


@pytest.fixture(scope="module")
def hurt_postgres(
    postgres_programs: None,  # noqa: ARG001 - needed first
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[PostgresServer]:
    """Keep a PostgreSQL for the tests of one module that hurt it; see `own_postgres`."""
    with PostgresServer(tmp_path_factory.mktemp("own-postgres"), durable=False) as server:
        yield server


@pytest.fixture
def own_postgres(hurt_postgres: PostgresServer) -> PostgresServer:
    """Provide a running PostgreSQL that the test may pause, kill and restart."""
    hurt_postgres.resume()
    if hurt_postgres.pid is None:
        hurt_postgres.restart()
    return hurt_postgres


@pytest.fixture
def own_plane(own_postgres: PostgresServer) -> Iterator[Plane]:
    """Provide a control plane on a server that the test may hurt."""
    with plane(own_postgres.create_database(f"t{uuid.uuid4().hex[:12]}")) as made:
        yield made
        own_postgres.resume()


@pytest.fixture
def control_plane(database: str) -> Iterator[Plane]:
    """Provide a control plane on the shared server."""
    with plane(database) as made:
        yield made
