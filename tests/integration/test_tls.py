"""TLS on the public port, and behind a proxy that ends it: over real sockets, on the real service."""

import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from devservices.ports import HOST, free_ports
from tests.integration.edge import (
    APP,
    WAIT_S,
    Answer,
    ask,
    await_true,
    batch,
    connect,
    event,
    figures,
    new_id,
    on_kafka,
    on_local_log,
    ready,
    run_command,
)
from tests.support.certificates import Files, Pair, pair, replace
from tests.support.handshake import aged, anybody, handshake
from tests.support.service import ServiceProcess

HSTS: Final = "max-age=31536000; includeSubDomains"
HEADER_TIMEOUT_MS: Final = 700
"""Far below what asyncio itself would grant a handshake, which in turn is more than a test waits."""

UNTRUSTED: Final = "127.0.0.2"

FIRST, SECOND, THIRD = pair("rsa"), pair("ec"), pair("rsa")


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """Run an edge on TLS; whatever clients do to its handshakes, it has nothing to tell above level info."""
    folder = tmp_path_factory.mktemp("tls")
    env = on_local_log(folder, HEADER_TIMEOUT_MS=str(HEADER_TIMEOUT_MS)) | FIRST.write(folder).settings()
    with ServiceProcess(env, folder=folder) as service:
        yield service

        assert service.stop() == 0
        assert [line for line in lines(service) if line["level"] != "info"] == []
        assert service.stderr_path.read_text(encoding="utf-8") == ""


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """Run an edge on plain HTTP that trusts this machine's first address as a proxy, and not its second one."""
    folder = tmp_path_factory.mktemp("proxied")
    with ServiceProcess(on_local_log(folder, TRUSTED_PROXIES=HOST), folder=folder) as service:
        yield service


def trusting(given: Pair, *, newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """Return a client that believes one certificate alone."""
    context = ssl.create_default_context(cadata=given.certificate.decode())
    context.maximum_version = newest
    return context


def post(service: ServiceProcess, *, tls: ssl.SSLContext | None = None, source: str = "", **headers: str) -> Answer:
    """Send a batch; `headers` are named with `_` for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(service.url, "/events", batch(event(new_id())), {"X-App-Id": APP, **named}, tls=tls, source=source)


def raw(service: ServiceProcess) -> socket.socket:
    """Return a bare connection to the public port."""
    parts = urlsplit(service.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=WAIT_S)


@contextlib.contextmanager
def secured(service: ServiceProcess, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    """Open a connection on TLS and shake hands."""
    with raw(service) as plain, context.wrap_socket(plain, server_hostname=HOST) as client:
        yield client


def read_to_end(client: socket.socket) -> bytes:
    """Return all that comes until the server ends the connection; WAIT_S of silence is an error."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(65536):
            received += data
    return received


def lines(service: ServiceProcess, name: str = "") -> list[dict[str, object]]:
    """Return the log lines, where a name is given those of one event."""
    told = map(json.loads, service.stdout_path.read_text(encoding="utf-8").splitlines())
    return [line for line in told if name in ("", line["event"])]


# On our own TLS


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_events_are_taken_on_present_versions(edge: ServiceProcess, version: ssl.TLSVersion) -> None:
    """TLS 1.2 and 1.3 serve, with HTTP/1.1 as what is spoken inside."""
    context = trusting(FIRST, newest=version)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with secured(edge, context) as client:
        assert (client.version(), client.selected_alpn_protocol()) == (version.name.replace("_", "."), "http/1.1")

    answer = post(edge, tls=trusting(FIRST, newest=version))
    assert (answer.status, answer.json()["accepted"]) == (202, 1)
    assert answer.headers["strict-transport-security"] == HSTS


def test_a_client_of_tls_1_1_is_refused(edge: ServiceProcess, tmp_path: Path) -> None:
    """Its handshake fails, although a server that speaks its version would serve it."""
    permissive = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    permissive.load_cert_chain(*FIRST.write(tmp_path))
    try:
        assert handshake(aged(permissive), aged(anybody())).version() == "TLSv1.1"
    except ssl.SSLError as error:
        pytest.skip(f"this OpenSSL speaks no TLS 1.1 at all: {error.reason}")

    # The event loop ends the connection before the alert that tells the reason is out.
    with pytest.raises((ssl.SSLError, ConnectionResetError)), secured(edge, aged(anybody())):
        pass
    assert post(edge, tls=trusting(FIRST)).status == 202


def test_every_answer_tells_to_stay_and_none_who_answers(edge: ServiceProcess) -> None:
    """Accepted or refused, by the app or before it: each answer has the header once, and none names the server."""
    tls = trusting(FIRST)
    answers = [
        post(edge, tls=tls),
        ask(edge.url, "/events", b"no JSON", {"X-App-Id": APP}, tls=tls),
        ask(edge.url, "/events", b"{}", {"X-App-Id": "app_nobody"}, tls=tls),
        ask(edge.url, "/events", b" " * (2 << 20), {"X-App-Id": APP}, tls=tls),
        ask(edge.url, "/events", method="OPTIONS", headers={"Origin": "https://shop.example"}, tls=tls),
        ask(edge.url, "/events", tls=tls),
        ask(edge.url, "/health", tls=tls),
        ask(edge.url, "/nowhere", tls=tls),
    ]
    assert [each.status for each in answers] == [202, 400, 401, 413, 204, 405, 200, 404]
    for each in answers:
        assert each.headers["strict-transport-security"] == HSTS
        assert "server" not in each.headers

    with secured(edge, tls) as client:
        client.sendall(b"no HTTP at all\r\n\r\n")
        head = read_to_end(client).lower()
    assert head.startswith(b"http/1.1 400 ")
    assert head.count(b"\r\nstrict-transport-security: ") == 1
    assert b"\r\nserver: " not in head


def test_nobodys_word_is_believed_on_tls(edge: ServiceProcess) -> None:
    """Without a trusted proxy `X-Forwarded-Proto` has no effect."""
    assert post(edge, tls=trusting(FIRST), X_Forwarded_Proto="http").status == 202


def test_the_admin_port_stays_plain(edge: ServiceProcess) -> None:
    """Operators ask without TLS, and are not told to come with it."""
    answer = ready(edge)

    assert answer.status == 200
    assert "strict-transport-security" not in answer.headers
    assert "server" not in answer.headers
    assert figures(edge)["ingest_tls_problems"] == 0


def test_plain_http_on_the_tls_port_ends_at_once(edge: ServiceProcess) -> None:
    """It is no handshake, gets no answer of ours, and harms nobody."""
    with raw(edge) as client:
        client.sendall(b"POST /events HTTP/1.1\r\nhost: edge\r\ncontent-length: 2\r\n\r\n{}")
        assert not read_to_end(client).startswith(b"HTTP/")

    assert post(edge, tls=trusting(FIRST)).status == 202


HELLO: Final = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
"""The begin of a client's first message, which promises 512 bytes."""


@pytest.mark.parametrize("said", [b"", HELLO])
def test_a_handshake_that_does_not_end_is_cut(edge: ServiceProcess, said: bytes) -> None:
    """A client that says nothing, or half of its hello, does not hold its connection."""
    with raw(edge) as client:
        client.sendall(said)
        assert read_to_end(client) == b""


def test_headers_that_do_not_end_are_cut_on_tls_too(edge: ServiceProcess) -> None:
    """After the handshake the same bound holds for the head of a request."""
    with secured(edge, trusting(FIRST)) as client:
        client.sendall(b"POST /events HTTP/1.1\r\nhost")
        assert read_to_end(client).startswith(b"HTTP/1.1 408 ")


def test_a_client_that_never_says_goodbye_is_let_go(edge: ServiceProcess) -> None:
    """TLS has its own farewell; who does not return it does not hold the socket."""
    with secured(edge, trusting(FIRST)) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n\r\n")
        assert read_to_end(client).startswith(b"HTTP/1.1 200 ")
        with socket.socket(fileno=client.detach()) as bare:
            bare.settimeout(WAIT_S)
            assert read_to_end(bare) == b""


def test_several_requests_share_a_connection(edge: ServiceProcess) -> None:
    """A connection lives on after an answer, as without TLS."""
    connection = connect(edge.url, tls=trusting(FIRST))
    with contextlib.closing(connection):
        sockets = set()
        for _ in range(3):
            connection.request("POST", "/events", batch(event(new_id())), {"X-App-Id": APP})
            response = connection.getresponse()
            sockets.add(connection.sock)
            assert (response.status, response.read()[:1]) == (202, b"{")
    assert len(sockets) == 1


def served(service: ServiceProcess) -> bytes | None:
    """Return the certificate that a new connection gets."""
    with secured(service, anybody()) as client:
        return client.getpeercert(binary_form=True)


def healthy(connection: http.client.HTTPConnection) -> bool:
    """Ask on a connection that is open already."""
    connection.request("GET", "/health")
    response = connection.getresponse()
    return response.status == 200 and response.read() != b""


def test_a_new_certificate_is_taken_over_while_connections_live_on(tmp_path: Path) -> None:
    """New connections get the new pair, old ones stay; a broken pair is told once and leaves the last good one."""
    files = FIRST.write(tmp_path)
    with ServiceProcess(on_local_log(tmp_path) | files.settings(), folder=tmp_path) as service:
        connection = connect(service.url, tls=trusting(FIRST))
        with contextlib.closing(connection):
            assert healthy(connection)
            kept = connection.sock
            assert served(service) == FIRST.der

            SECOND.write(tmp_path)
            await_true(lambda: served(service) == SECOND.der, "the new certificate is served")
            assert healthy(connection)
            assert connection.sock is kept
            assert post(service, tls=trusting(SECOND)).status == 202

            replace(files.certificate, b"no certificate")
            await_true(lambda: figures(service)["ingest_tls_problems"] == 1, "the broken pair is told")
            assert served(service) == SECOND.der
            assert healthy(connection)

            THIRD.write(tmp_path)
            await_true(lambda: served(service) == THIRD.der, "the next good certificate is served")
            await_true(lambda: figures(service)["ingest_tls_problems"] == 0, "the problem is over")
            assert healthy(connection)
            assert connection.sock is kept
        assert service.stop() == 0
        assert len(lines(service, "certificate_refused")) == 1
        assert len(lines(service, "certificate_loaded")) == 2


def test_a_stop_does_not_wait_for_idle_connections(tmp_path: Path) -> None:
    """A client that keeps its connection open and does not read holds up no stop."""
    env = on_local_log(tmp_path, DRAIN_TIMEOUT_MS="60000") | FIRST.write(tmp_path).settings()
    with ServiceProcess(env, folder=tmp_path) as service, secured(service, trusting(FIRST)) as client, raw(service):
        client.sendall(b"GET /health HTTP/1.1\r\nhost: edge\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert service.stop() == 0


def mismatched(folder: Path) -> Files:
    """Return a certificate and the key of another one."""
    files = FIRST.write(folder)
    replace(files.key, THIRD.key)
    return files


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_pair_that_cannot_be_used_refuses_the_start(tmp_path: Path, workers: str) -> None:
    """One line tells it, whatever the number of workers, which need not start for that."""
    env = on_kafka(f"{HOST}:1", "t.", tmp_path, WORKERS=workers, DATA_DIR=str(tmp_path / "data"), PORT="0")
    refused = run_command(["serve"], env | {"INGEST_ADMIN_PORT": "0"} | mismatched(tmp_path).settings())

    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert line.startswith("ingest: INGEST_TLS_CERTIFICATE_FILE and INGEST_TLS_KEY_FILE cannot be used: ")
    assert line.endswith(": certificate and key do not belong together")


def test_several_workers_serve_on_tls(tmp_path: Path) -> None:
    """Each worker loads the certificate for itself; no broker is needed to see it."""
    (nobody,) = free_ports(1)
    env = on_kafka(f"{HOST}:{nobody}", "t.", tmp_path, WORKERS="2") | SECOND.write(tmp_path).settings()
    with ServiceProcess(env, folder=tmp_path) as service:
        for _ in range(20):
            answer = ask(service.url, "/health", tls=trusting(SECOND))
            assert (answer.status, answer.headers["strict-transport-security"]) == (200, HSTS)


# Behind a proxy that ends TLS


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "DELETE"])
@pytest.mark.parametrize("path", ["/events", "/l/events", "/nowhere", "/events/"])
def test_plain_http_behind_a_proxy_is_sent_to_https(proxied: ServiceProcess, method: str, path: str) -> None:
    """Whatever is asked, the answer is 308 to the same place, with a request id."""
    headers = {"X-Forwarded-Proto": "http", "Host": "edge.example.com"}
    answer = ask(proxied.url, f"{path}?a=%20b", headers=headers, method=method)

    assert (answer.status, answer.body) == (308, b"")
    assert answer.headers["location"] == f"https://edge.example.com{path}?a=%20b"
    assert answer.headers["x-request-id"].startswith("req_")
    assert "strict-transport-security" not in answer.headers
    assert "server" not in answer.headers


def test_a_redirect_does_not_wait_for_the_body(proxied: ServiceProcess) -> None:
    """The head of a request is enough, and a body that never comes is not missed."""
    with raw(proxied) as client:
        head = f"POST /events HTTP/1.1\r\nhost: edge\r\nx-app-id: {APP}\r\nx-forwarded-proto: http\r\n"
        client.sendall(f"{head}content-length: 1000\r\n\r\n".encode())
        assert read_to_end(client).startswith(b"HTTP/1.1 308 ")


def test_a_redirect_is_counted_and_logged(proxied: ServiceProcess) -> None:
    """Operators see it under its route, with the request id that the client was given."""
    name = 'ingest_requests_total{code="none",route="/events",status="308"}'
    before = figures(proxied).get(name, 0)
    answer = post(proxied, X_Forwarded_Proto="http")

    assert answer.status == 308
    assert figures(proxied)[name] == before + 1
    request_id = answer.headers["x-request-id"]
    await_true(lambda: any(line["request_id"] == request_id for line in lines(proxied, "request")), "it is logged")


def test_https_behind_a_proxy_is_served_and_told_to_stay(proxied: ServiceProcess) -> None:
    """Every answer to it has the header, those of errors and of the framework too."""
    said = {"X-Forwarded-Proto": "https"}
    answers = [
        post(proxied, X_Forwarded_Proto="https"),
        ask(proxied.url, "/events", b"no JSON", {"X-App-Id": APP, **said}),
        ask(proxied.url, "/events", b"{}", {"X-App-Id": "app_nobody", **said}),
        ask(proxied.url, "/events", headers=said),
        ask(proxied.url, "/health", headers=said),
        ask(proxied.url, "/nowhere", headers=said),
    ]

    assert [each.status for each in answers] == [202, 400, 401, 405, 200, 404]
    assert {each.headers.get("strict-transport-security") for each in answers} == {HSTS}
    assert not any("server" in each.headers for each in answers)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_untrusted_peer_is_not_believed(proxied: ServiceProcess, scheme: str) -> None:
    """A client that comes past the proxy is neither redirected nor told to stay, whatever it says."""
    answer = post(proxied, source=UNTRUSTED, X_Forwarded_Proto=scheme)

    assert answer.status == 202
    assert "strict-transport-security" not in answer.headers


def test_plain_http_without_a_word_about_it_is_served(proxied: ServiceProcess) -> None:
    """A proxy that does not tell the scheme is served, and nobody is told to stay on HTTPS."""
    answer = post(proxied)

    assert answer.status == 202
    assert "strict-transport-security" not in answer.headers


def test_probes_are_answered_on_plain_http(proxied: ServiceProcess) -> None:
    """A balancer gets its answer, not a redirect."""
    answer = ask(proxied.url, "/health", headers={"X-Forwarded-Proto": "http"})

    assert answer.status == 200
    assert "strict-transport-security" not in answer.headers


@pytest.mark.parametrize(
    "head",
    [
        "GET / HTTP/1.0",
        "GET / HTTP/1.1\r\nhost: user@evil.example",
        "GET / HTTP/1.1\r\nhost: edge/evil.example",
        "GET / HTTP/1.1\r\nhost: one\r\nhost: other",
        "GET @evil.example/ HTTP/1.1\r\nhost: edge",
        "GET .evil.example/ HTTP/1.1\r\nhost: edge",
        "GET /\xe4 HTTP/1.1\r\nhost: edge",
        "GET /?\xe4 HTTP/1.1\r\nhost: edge",
        "OPTIONS * HTTP/1.1\r\nhost: edge",
        "CONNECT evil.example:443 HTTP/1.1\r\nhost: edge",
    ],
)
def test_a_forged_place_is_refused(proxied: ServiceProcess, head: str) -> None:
    """What does not name a place on this host is answered 400, and leads nowhere."""
    with raw(proxied) as client:
        client.sendall(f"{head}\r\nx-forwarded-proto: http\r\nconnection: close\r\n\r\n".encode("latin-1"))
        received = read_to_end(client)

    assert received.startswith(b"HTTP/1.1 400 ")
    assert b'"BAD_REQUEST"' in received
    assert b"location" not in received.lower()
    assert b"evil" not in received


def test_the_place_that_is_asked_for_is_on_this_host(proxied: ServiceProcess) -> None:
    """A target that spells another host counts for its path alone, and a path of two slashes stays a path."""
    for target, location in (
        ("http://evil.example/events", b"https://edge/events"),
        ("//evil.example/", b"https://edge//evil.example/"),
    ):
        with raw(proxied) as client:
            head = f"GET {target} HTTP/1.1\r\nhost: edge\r\nx-forwarded-proto: http\r\nconnection: close\r\n\r\n"
            client.sendall(head.encode())
            assert b"\r\nlocation: " + location + b"\r\n" in read_to_end(client)
