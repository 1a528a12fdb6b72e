"""Clients that are slow, that vanish, or that come in crowds: the others are served, and nothing of them remains."""

import asyncio
import contextlib
import http.client
import resource
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Final

import pytest

from devservices.kafka import KafkaCluster
from ingest.edge.protocol import PIPELINED_REQUESTS_MAX
from tests.integration.edge import (
    APP,
    WAIT_S,
    ask,
    await_true,
    batch,
    event,
    figures,
    memory,
    new_id,
    on_kafka,
    on_local_log,
    post,
)
from tests.support.service import ServiceProcess

BODY_TIMEOUT_S: Final = 0.5
HEADER_TIMEOUT_S: Final = 0.5
MARGIN_S: Final = 1.5
IDLE: Final = 2_500
IDLE_MIB_MAX: Final = 100
"""What that many idle connections may hold in all: 40 KiB each."""

LATENCY_S_MAX: Final = 0.1
BODY: Final = batch(event("held"))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """Run an edge with short timeouts."""
    folder = tmp_path_factory.mktemp("connections")
    timeouts = {
        "BODY_TIMEOUT_MS": str(int(BODY_TIMEOUT_S * 1000)),
        "HEADER_TIMEOUT_MS": str(int(HEADER_TIMEOUT_S * 1000)),
    }
    with ServiceProcess(on_local_log(folder, **timeouts), folder=folder) as service:
        yield service


def connect(service: ServiceProcess) -> socket.socket:
    """Open a connection."""
    return socket.create_connection((service.settings["INGEST_HOST"], int(service.settings["INGEST_PORT"])), WAIT_S)


def head(length: int = len(BODY)) -> bytes:
    """Return the head of a batch of that many bytes."""
    return f"POST /events HTTP/1.1\r\nhost: edge\r\nx-app-id: {APP}\r\ncontent-length: {length}\r\n\r\n".encode()


def read_all(client: socket.socket) -> bytes:
    """Return all that comes until the server ends the connection, or resets it."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while data := client.recv(65536):
            received += data
    return received


def is_settled(service: ServiceProcess) -> bool:
    """Tell whether no request is in flight and no byte of a body is held."""
    counted = figures(service)
    return counted["ingest_in_flight_requests"] == counted["ingest_in_flight_bytes"] == 0


def assert_unharmed(service: ServiceProcess) -> None:
    """Check that what was held is given back and a normal batch is taken as ever."""
    await_true(lambda: is_settled(service), "nothing is in flight")
    assert post(service.url, batch(event(new_id()))).status == 202


def drip(client: socket.socket, data: bytes, pause_s: float) -> None:
    """Send a byte now and then until the server has had enough."""
    with contextlib.suppress(ConnectionError):
        for at in range(len(data)):
            client.sendall(data[at : at + 1])
            time.sleep(pause_s)  # a slow client is what this is about


def test_a_body_that_stops_is_answered_408(service: ServiceProcess) -> None:
    """A client that goes silent within its body is told, after the idle timeout and not long after it."""
    with connect(service) as client:
        client.sendall(head() + BODY[:10])
        begun = time.monotonic()
        answer = read_all(client)
        waited_s = time.monotonic() - begun

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"BODY_TIMEOUT" in answer
    assert BODY_TIMEOUT_S * 0.9 < waited_s < BODY_TIMEOUT_S + MARGIN_S
    assert_unharmed(service)


def test_a_body_that_drips_for_ever_is_answered_408(service: ServiceProcess) -> None:
    """Bytes that keep coming one by one do not hold a place for ever: the whole body has a bound too."""
    with connect(service) as client, ThreadPoolExecutor(1) as dripper:
        client.sendall(head(1_000))
        begun = time.monotonic()
        dripper.submit(drip, client, b" " * 1_000, BODY_TIMEOUT_S / 5)
        answer = read_all(client)
        waited_s = time.monotonic() - begun

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert BODY_TIMEOUT_S * 2 < waited_s < BODY_TIMEOUT_S * 6 + MARGIN_S
    assert_unharmed(service)


def test_a_head_that_drips_is_ended(service: ServiceProcess) -> None:
    """A connection that does not finish its headers gets 408 at the header timeout, however busy it looks."""
    with connect(service) as client, ThreadPoolExecutor(1) as dripper:
        begun = time.monotonic()
        dripper.submit(drip, client, b"GET /health HTTP/1.1\r\nx-slow: " + b"x" * 1_000, HEADER_TIMEOUT_S / 10)
        answer = read_all(client)
        waited_s = time.monotonic() - begun

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert waited_s < HEADER_TIMEOUT_S + MARGIN_S
    assert_unharmed(service)


@pytest.mark.parametrize("sent", [0, 10, len(BODY) - 1])
def test_clients_that_vanish_leave_nothing_behind(service: ServiceProcess, sent: int) -> None:
    """Half-closed or reset within the body, many at once: their places are given back long before any timeout."""
    before = figures(service)["ingest_connections"]
    clients = [connect(service) for _ in range(40)]
    for number, client in enumerate(clients):
        client.sendall(head() + BODY[:sent])
        if number % 2:
            client.shutdown(socket.SHUT_WR)
        else:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
    for client in clients[1::2]:
        read_all(client)
        client.close()

    await_true(lambda: figures(service)["ingest_connections"] <= before, "the connections are gone")
    assert_unharmed(service)


def test_a_whole_request_before_a_half_close_is_answered(service: ServiceProcess) -> None:
    """A client may say that it has nothing more to send and still read its answer."""
    with connect(service) as client:
        client.sendall(head() + BODY)
        client.shutdown(socket.SHUT_WR)
        answer = read_all(client)

    assert answer.startswith(b"HTTP/1.1 202 ")


def test_pipelined_requests_are_answered_in_order(service: ServiceProcess) -> None:
    """Requests that come before the answer to the first are all answered, in their order, on the same connection."""
    bodies = [batch(event(f"pipelined-{number}")) for number in range(10)]
    requests = b"".join(
        head(len(body)).replace(
            b"\r\n\r\n", f"\r\nx-request-id: {number:08}-0000-0000-0000-000000000000\r\n\r\n".encode()
        )
        + body
        for number, body in enumerate(bodies, 1)
    )
    with connect(service) as client:
        client.sendall(requests)
        client.shutdown(socket.SHUT_WR)
        received = read_all(client)
    heads = [part for part in received.split(b"HTTP/1.1 ") if part]

    assert [part[:4] for part in heads] == [b"202 "] * len(bodies)
    assert [f"{number:08}-".encode() in part for number, part in enumerate(heads, 1)] == [True] * len(bodies)


def test_a_flood_of_pipelined_requests_is_bounded(service: ServiceProcess) -> None:
    """Thousands of requests without waiting for an answer: some are answered, the rest is not kept."""
    with connect(service) as client, ThreadPoolExecutor(1) as reader:
        answer = reader.submit(read_all, client)
        with contextlib.suppress(ConnectionError):
            client.sendall((head() + BODY) * 5_000)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_WR)
        received = answer.result(WAIT_S)

    statuses = [part[:4] for part in received.split(b"HTTP/1.1 ")[1:]]

    assert set(statuses) == {b"202 "}
    assert len(statuses) <= 1 + PIPELINED_REQUESTS_MAX
    assert figures(service)['ingest_connections_refused_total{reason="pipelined"}'] == 1
    assert_unharmed(service)


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process have enough open files for both ends' share of the idle connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = IDLE + 1_000
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.fail(f"the limit of open files is {hard}, at least {wanted} are needed", pytrace=False)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def _latencies(service: ServiceProcess) -> list[float]:
    """Hold idle connections and measure batches beside them; each idle one has been answered once before."""
    host, port = service.settings["INGEST_HOST"], int(service.settings["INGEST_PORT"])
    writers = []
    for _ in range(IDLE):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET /health HTTP/1.1\r\nhost: edge\r\n\r\n")
        writers.append(writer)
        await reader.readuntil(b'{"status":"ok"}')
    assert (await asyncio.to_thread(figures, service))["ingest_connections"] >= IDLE
    measured = []
    for _ in range(50):
        answer = await asyncio.to_thread(post, service.url, batch(event(new_id())))
        assert answer.status == 202
        measured.append(answer.seconds)
    for writer in writers:
        writer.transport.abort()
    return measured


@pytest.mark.usefixtures("many_files")
def test_idle_connections_cost_others_nothing(tmp_path: Path) -> None:
    """With thousands of connections open a batch is as quick as ever, and they hold little memory."""
    with ServiceProcess(on_local_log(tmp_path), folder=tmp_path) as service:
        post(service.url, batch(event("warm")))
        before = memory(service.pid).resident_mib
        measured = asyncio.run(_latencies(service))
        held_mib = memory(service.pid).resident_mib - before
        await_true(lambda: figures(service)["ingest_connections"] < 10, "all are gone")

    assert median(measured) < LATENCY_S_MAX
    assert held_mib < IDLE_MIB_MAX


def test_a_connection_too_many_is_refused(tmp_path: Path) -> None:
    """Beyond the bound a connection gets 503 OVERLOADED with advice at once; those that are open are served."""
    with ServiceProcess(on_local_log(tmp_path, CONNECTIONS_MAX="3"), folder=tmp_path) as service:
        await_true(lambda: figures(service)["ingest_connections"] == 0, "the probe of the start has gone")
        held = [
            http.client.HTTPConnection(
                service.settings["INGEST_HOST"], int(service.settings["INGEST_PORT"]), timeout=WAIT_S
            )
            for _ in range(3)
        ]
        for each in held:
            each.connect()
        await_true(lambda: figures(service)["ingest_connections"] == 3, "all are open")
        with connect(service) as client:
            refused = read_all(client)
        held[0].request("POST", "/events", BODY, {"X-App-Id": APP})
        status = held[0].getresponse().status
        for each in held:
            each.close()
        await_true(lambda: figures(service)["ingest_connections"] == 0, "all are gone")
        after = post(service.url, BODY).status
        counted = figures(service)['ingest_connections_refused_total{reason="connections"}']

    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b"OVERLOADED" in refused
    assert b"retry-after: " in refused
    assert (status, after, counted) == (202, 202, 1)


def test_beyond_the_in_flight_bound_the_answer_comes_at_once(
    kafka: KafkaCluster, topic_prefix: str, tmp_path: Path
) -> None:
    """While held requests wait for Kafka further ones get 503 OVERLOADED and advice at once; the held ones finish."""
    env = on_kafka(kafka.bootstrap, topic_prefix, tmp_path, IN_FLIGHT_REQUESTS_MAX="5", ACK_DEADLINE_MS="8000")
    with ServiceProcess(env, folder=tmp_path) as service, ThreadPoolExecutor(5) as senders:
        kafka.brokers[0].pause()
        try:
            held = [senders.submit(post, service.url, batch(event(new_id()))) for _ in range(5)]
            await_true(lambda: figures(service)["ingest_in_flight_requests"] == 5, "all are in flight")
            refused = [post(service.url, batch(event(new_id()))) for _ in range(10)]
            healthy = ask(service.url, "/health").status
        finally:
            kafka.brokers[0].resume()
        statuses = {each.result(WAIT_S).status for each in held}
        after = post(service.url, batch(event(new_id()))).status

    assert {(answer.status, answer.code) for answer in refused} == {(503, "OVERLOADED")}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert max(answer.seconds for answer in refused) < LATENCY_S_MAX * 5
    assert (healthy, statuses, after) == (200, {202}, 202)


def test_bodies_beyond_the_bytes_in_flight_are_refused(tmp_path: Path) -> None:
    """What slow senders hold counts in bytes as well, and the next body that finds no room is refused, not kept."""
    limits = {"BODY_INFLATED_BYTES_MAX": "1MiB", "IN_FLIGHT_BYTES_MAX": "1MiB", "EVENT_BYTES_MAX": "16KiB"}
    with ServiceProcess(on_local_log(tmp_path, **limits), folder=tmp_path) as service, connect(service) as slow:
        slow.sendall(head(1_000_000) + b" " * 900_000)
        await_true(lambda: figures(service)["ingest_in_flight_bytes"] == 900_000, "its part is counted")
        refused = post(service.url, b" " * 300_000)
        small = post(service.url, batch(event(new_id())))
        slow.sendall(b" " * (100_000 - len(BODY)) + BODY)
        slow.shutdown(socket.SHUT_WR)
        finished = read_all(slow)
        assert_unharmed(service)

    assert (refused.status, refused.code, small.status) == (503, "OVERLOADED", 202)
    assert finished.startswith(b"HTTP/1.1 202 ")
