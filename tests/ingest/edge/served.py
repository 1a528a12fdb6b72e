"""A real uvicorn server on a free port with the edge's protocol, a tiny app behind it, and raw sockets before it."""

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, NamedTuple

import uvicorn

from ingest.edge.answer import accepted_request_id
from ingest.edge.protocol import ConnectionLimits, EdgeProtocol, protocol_class

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

WAIT_S = 5.0
"""How long a test waits for what must come."""

SMALL = ConnectionLimits(header_bytes_max=4096, header_timeout_ms=150, connections_max=500)
PATIENT = ConnectionLimits(header_bytes_max=4096, header_timeout_ms=60_000, connections_max=5000)


class Answer(NamedTuple):
    """One answer as a client reads it."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body, decoded."""
        return json.loads(self.body)


class Served:
    """A running server, and what became of its connections."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.refused: list[str] = []
        self.heads_awaited = 0
        self.open_connections = 0
        self.eof = threading.Semaphore(0)
        self.lost = threading.Semaphore(0)
        self.disconnects = threading.Semaphore(0)
        self.reading = threading.Semaphore(0)
        self.gate_waits = threading.Semaphore(0)
        self.server: uvicorn.Server
        self.loop: asyncio.AbstractEventLoop | None = None
        self.gate = asyncio.Event()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.protocol = self._watched(protocol_class(limits, self.refused.append))

    def _watched(self, base: type[EdgeProtocol]) -> type[EdgeProtocol]:
        served = self

        class Watched(base):  # type: ignore[valid-type, misc] # made at run time
            """Tells the test what happened to the connection."""

            def connection_made(self, transport: asyncio.Transport) -> None:
                """Also learn in which loop the app's gate lives."""
                served.loop = self.loop
                served.open_connections += 1
                super().connection_made(transport)

            def eof_received(self) -> bool:
                """Also let a waiting test go on."""
                keep: bool = super().eof_received()
                served.eof.release()
                return keep

            def connection_lost(self, exc: Exception | None) -> None:
                """Also let a waiting test go on."""
                super().connection_lost(exc)
                served.open_connections -= 1
                served.lost.release()

            def _expect_head(self) -> None:
                served.heads_awaited += 1
                super()._expect_head()

        return Watched

    async def app(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer early, late or with what was sent, by path."""
        if scope["path"] == "/early":
            return await answer(send, 413, b'{"early": true}')
        if scope["path"] == "/gated":
            self.gate_waits.release()
            await self.gate.wait()
        body = b""
        more = True
        while more:
            self.reading.release()
            message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnects.release()
                return None
            body += message["body"]
            more = message["more_body"]
        told = {
            "method": scope["method"],
            "path": scope["path"],
            "headers": [name.decode("latin-1") for name, _ in scope["headers"]],
            "bytes": len(body),
            "body": body[:100].decode("latin-1"),
        }
        return await answer(send, 200, json.dumps(told).encode())

    def settle(self) -> None:
        """Wait until nothing is left of a test, and forget what it did."""
        self.open_gate()
        while self.open_connections:
            assert self.lost.acquire(timeout=WAIT_S)
        self.refused.clear()
        self.heads_awaited = 0
        self.gate.clear()
        for each in (self.eof, self.lost, self.disconnects, self.reading, self.gate_waits):
            while each.acquire(blocking=False):
                pass

    def stop(self) -> None:
        """Let the server end as on SIGTERM."""
        self.server.should_exit = True

    def connect(self) -> socket.socket:
        """Return a new connection."""
        return socket.create_connection(self.listener.getsockname(), timeout=WAIT_S)

    def open_gate(self) -> None:
        """Let the app answer what waits at `/gated`."""
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self.gate.set)

    def talk(self, *pieces: bytes) -> bytes:
        """Send pieces on a new connection and return all that comes until the server ends it."""
        with self.connect() as client:
            for piece in pieces:
                client.sendall(piece)
            return read_to_end(client)


async def answer(send: Send, status: int, body: bytes) -> None:
    """Send one small answer."""
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextlib.contextmanager
def serving(loop: str, limits: ConnectionLimits) -> Iterator[Served]:
    """Run a server in a thread for the length of a block."""
    served = Served(limits)
    config = uvicorn.Config(
        served.app,
        http=served.protocol,
        loop=loop,
        interface="asgi3",
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
    )
    served.server = uvicorn.Server(config)
    thread = threading.Thread(target=served.server.run, args=([served.listener],), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        served.open_gate()
        served.stop()
        thread.join(WAIT_S)
        served.listener.close()
        assert not thread.is_alive()


def read_to_end(client: socket.socket) -> bytes:
    """Return all that comes until the server ends the connection; more than WAIT_S of silence is an error."""
    received = b""
    while data := client.recv(65536):
        received += data
    return received


def read_answers(client: socket.socket, count: int) -> list[Answer]:
    """Return the next `count` answers of a connection that lives on."""
    received = b""
    while len(found := answers(received)) < count:
        data = client.recv(65536)
        assert data, "the server ended the connection"
        received += data
    return found


def answers(received: bytes) -> list[Answer]:
    """Return the complete answers in what was received."""
    found = []
    while b"\r\n\r\n" in received:
        head, _, rest = received.partition(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        size = int(headers.get("content-length", "0"))
        if len(rest) < size:
            break
        found.append(Answer(int(status_line.split()[1]), headers, rest[:size]))
        received = rest[size:]
    return found


def assert_error(received: bytes, status: int, code: str) -> None:
    """Check that exactly one answer came, and that it is the error envelope with its headers."""
    (only,) = answers(received)
    error = only.json()["error"]

    assert (only.status, error["code"]) == (status, code)
    assert set(error) == {"code", "message", "requestId"}
    assert only.headers["content-type"] == "application/json"
    assert only.headers["connection"] == "close"
    assert only.headers["x-request-id"] == error["requestId"]
    assert accepted_request_id(error["requestId"].encode()) == error["requestId"]


def post(path: str, body: bytes = b"", *headers: str) -> bytes:
    """Return a whole request."""
    lines = [f"POST {path} HTTP/1.1", "host: edge", f"content-length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def chunked(path: str, *pieces: bytes) -> bytes:
    """Return the head of a chunked request, followed by `pieces` as they are."""
    return f"POST {path} HTTP/1.1\r\nhost: edge\r\ntransfer-encoding: chunked\r\n\r\n".encode() + b"".join(pieces)
