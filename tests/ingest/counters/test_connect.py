"""The client of Valkey: bounded, encrypted where it leaves the machine, never sending anything twice."""

import ssl
from typing import Any

import pytest
from redis.asyncio import BlockingConnectionPool, Redis, SSLConnection, UnixDomainSocketConnection

from ingest.counters.cache import WAIT_S
from ingest.counters.connect import CONNECTIONS_MAX, connect
from ingest.setting import Secret


def made(client: Redis) -> object:
    """Return a connection as the client makes them, not connected."""
    pool: Any = client.connection_pool
    return pool.make_connection()


def test_every_wait_is_bounded() -> None:
    """Connecting, answers and the wait for a free connection have a bound, and there are no retries."""
    pool = connect(Secret("redis://127.0.0.1:6379/3")).connection_pool
    assert isinstance(pool, BlockingConnectionPool)
    options = pool.connection_kwargs

    assert (pool.max_connections, pool.timeout) == (CONNECTIONS_MAX, WAIT_S)
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (WAIT_S, WAIT_S)
    assert options["retry"].get_retries() == 0
    assert (options["db"], options["client_name"]) == (3, "ingest-edge")


def test_tls_is_1_2_at_least_and_checks_the_server() -> None:
    """A `rediss://` URL gives a verified connection of at least TLS 1.2."""
    connection = made(connect(Secret("rediss://u:pw@valkey.example:6380")))
    assert isinstance(connection, SSLConnection)
    context = connection.ssl_context.get()

    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert (connection.username, connection.password) == ("u", "pw")


def test_a_socket_of_this_machine() -> None:
    """A `unix://` URL names a path."""
    connection = made(connect(Secret("unix:///run/valkey.sock?db=2")))

    assert isinstance(connection, UnixDomainSocketConnection)
    assert (connection.path, connection.db) == ("/run/valkey.sock", 2)


def test_nothing_leaves_the_machine_in_clear_text() -> None:
    """Another host without TLS is refused, without the URL in the message, unless the network is private."""
    url = Secret("redis://u:hunter2@valkey.example")
    with pytest.raises(ValueError, match="not encrypted") as refused:
        connect(url)

    assert "hunter2" not in str(refused.value)
    assert "valkey.example" not in str(refused.value)
    assert connect(url, network_private=True).connection_pool.connection_kwargs["host"] == "valkey.example"
