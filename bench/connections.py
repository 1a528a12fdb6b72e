"""Keep-alive connections to one server, at most one request on each, driven by one thread without an event loop.

The generator shares the machine with what it measures, so a request has to cost little: it is written as it lies in
memory, and the answer is read by three searches. `select` is used for its timeout, which is exact to 0.1 ms, where an
event loop's timers are to 1 ms.
"""

import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Final, NamedTuple, Self

HOST: Final = "127.0.0.1"
CONNECT_TIMEOUT_S: Final = 5.0
_CHUNK_BYTES: Final = 64 * 1024


class LoadError(Exception):
    """The server closed a connection, or did not answer as an HTTP server does."""


class Answer(NamedTuple):
    """One answer: its status, `accepted` of its body (0 where there is none), and whether `stored` is `spooled`.

    `latency_s` counts from the moment that was given to `Connections.send`.
    """

    status: int
    accepted: int
    spooled: bool
    latency_s: float


class _Connection:
    __slots__ = ("began", "socket", "unread", "unsent")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port), CONNECT_TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(0)
        self.began = 0.0
        self.unread = b""
        self.unsent = memoryview(b"")

    def flush(self) -> bool:
        """Write what the system takes; return whether something is left."""
        try:
            self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except BlockingIOError:
            return True
        except ConnectionError as error:
            raise LoadError("the server broke a connection while a request was sent") from error
        return bool(self.unsent)

    def read(self) -> bytes | None:
        """Return the whole answer once it is there."""
        try:
            chunk = self.socket.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return None
        except ConnectionError:
            chunk = b""
        if not chunk:
            raise LoadError("the server closed a connection instead of answering")
        text = self.unread + chunk if self.unread else chunk
        head_bytes = text.find(b"\r\n\r\n") + 4
        if head_bytes >= 4 and len(text) >= head_bytes + _content_length(text, head_bytes):
            self.unread = b""
            return text
        self.unread = text
        return None


class Connections:
    """`count` open connections to `port` on 127.0.0.1. Raises `LoadError` where the server breaks one."""

    def __init__(self, port: int, count: int) -> None:
        self._stack = ExitStack()
        self._idle: list[_Connection] = []
        self._writing: dict[int, _Connection] = {}
        self._busy: dict[int, _Connection] = {}
        with self._stack:
            for _ in range(count):
                connection = _Connection(port)
                self._stack.enter_context(connection.socket)
                self._idle.append(connection)
            self._stack = self._stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def idle(self) -> bool:
        """Whether a request can be sent now."""
        return bool(self._idle)

    @property
    def busy(self) -> bool:
        """Whether an answer is still to come."""
        return bool(self._busy)

    def send(self, request: bytes, began: float) -> None:
        """Send on an idle connection; `began` is the `perf_counter` from which its latency counts."""
        connection = self._idle.pop()
        connection.began = began
        connection.unsent = memoryview(request)
        self._busy[connection.socket.fileno()] = connection
        if connection.flush():
            self._writing[connection.socket.fileno()] = connection

    def answers(self, wait_s: float) -> Iterator[Answer]:
        """Wait at most `wait_s` for something to happen, and yield the answers that are there."""
        readable, writable, _ = select.select(list(self._busy), list(self._writing), [], wait_s)
        for number in writable:
            if not self._writing[number].flush():
                del self._writing[number]
        for number in readable:
            connection = self._busy[number]
            text = connection.read()
            if text is not None:
                if number in self._writing:
                    raise LoadError("the server answered before it had read the request")
                del self._busy[number]
                self._idle.append(connection)
                yield _answer(text, time.perf_counter() - connection.began)


def _content_length(text: bytes, head_bytes: int) -> int:
    at = text.find(b"content-length: ", 0, head_bytes)
    if at < 0:
        at = text[:head_bytes].lower().find(b"content-length: ")
        if at < 0:
            raise LoadError("the server answered without a Content-Length")
    return int(text[at + 16 : text.index(b"\r", at)])


def _answer(text: bytes, latency_s: float) -> Answer:
    at = text.find(b'"accepted":')
    accepted = int(text[at + 11 : text.index(b",", at)]) if at >= 0 else 0
    return Answer(int(text[9:12]), accepted, b'"spooled"' in text, latency_s)
