"""HTTP/1.1 on a socket, with a bound on everything that uvicorn leaves open.

A request's head (request line and headers) is bounded in bytes and in time, the number of connections and of pipelined
requests is bounded, whatever is not HTTP is answered with the error envelope, and a client that is still sending when
its answer is complete can read it. Everything else is uvicorn's, whose version is locked.
"""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any, ClassVar, Final, NamedTuple

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from ingest.edge.answer import envelope, error_headers, new_request_id
from ingest.edge.linger import LingeringTransport
from ingest.errors import Code
from ingest.telemetry.catalog import RefusalReason

PIPELINED_REQUESTS_MAX: Final = 16
"""Requests of one connection that wait behind the one being answered; what follows is not read, and the client, seeing
the connection end, sends it again."""


class ConnectionLimits(NamedTuple):
    """The bounds of one server process.

    `header_bytes_max` holds for request line and headers together, and for the trailers of a chunked body.
    `header_timeout_ms` runs from the connection's begin, or from the first byte of a further request, to the end of
    the headers. `connections_max` counts open connections, idle ones included.
    """

    header_bytes_max: int
    header_timeout_ms: int
    connections_max: int


def protocol_class(
    limits: ConnectionLimits,
    on_refused: Callable[[RefusalReason], None] = lambda _: None,
    on_answered: Callable[[str, Code], None] = lambda _request_id, _code: None,
) -> type["EdgeProtocol"]:
    """Return the class for `uvicorn.Config(http=...)`.

    `on_refused` hears of every connection that is ended here, `on_answered` of every request id that is answered here.
    Leave uvicorn's `limit_concurrency` unset, its answer is plain text, and name `interface="asgi3"`.
    """
    hooks = {"on_refused": staticmethod(on_refused), "on_answered": staticmethod(on_answered)}
    return type("LimitedEdgeProtocol", (EdgeProtocol,), {"limits": limits, **hooks})


class EdgeProtocol(HttpToolsProtocol):
    """One connection. Made by `protocol_class`, which sets the limits.

    A request is in its head (`scope` is not None) until `on_headers_complete`, then in its body (`_line.unread`) until
    `on_message_complete`. `_fed_bytes` counts what was fed to the parser since it last finished a head, a piece of
    body or a message: above 0 after a feed, something unfinished is under way, of at least that size.
    """

    limits: ClassVar[ConnectionLimits]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._line: LingeringTransport = None  # type: ignore[assignment] # set when the connection is made
        self._header_bytes_max = self.limits.header_bytes_max
        self._is_admitted = False
        self._keep_alive = True
        self._fed_bytes = 0
        self._chunk_bytes = 0
        self._fault = RefusalReason.MALFORMED
        self._head_deadline: float | None = None
        self._head_timer: asyncio.TimerHandle | None = None

    @staticmethod
    def on_refused(reason: RefusalReason) -> None:
        """Hear of a connection that is ended here; `protocol_class` puts the listener in this place."""

    @staticmethod
    def on_answered(request_id: str, code: Code) -> None:
        """Hear of a request that is answered here; as above."""

    # The connection's life

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Admit the connection, or answer 503 where too many are open."""
        if len(self.connections) >= self.limits.connections_max:
            self.on_refused(RefusalReason.CONNECTIONS)
            transport.write(self._error(Code.OVERLOADED))
            transport.close()
            return
        self._is_admitted = True
        self._line = LingeringTransport(transport, self.loop)
        super().connection_made(self._line)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything that would outlive the connection."""
        if not self._is_admitted:
            return
        self._line.lost()
        self._head_deadline = None
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def eof_received(self) -> bool:  # type: ignore[override] # uvicorn has no use for the answer, asyncio does
        """Keep the way back open while a client that has sent its whole request waits for the answer."""
        cycle = self.cycle
        line = self._line
        is_answering = (
            cycle is not None
            and not cycle.response_complete
            and not line.is_lingering()
            and (line.is_ignoring or not line.unread)
            and self.scheme == "http"  # TLS cannot be closed by half
        )
        if is_answering:
            cycle.keep_alive = False
        return is_answering

    def shutdown(self) -> None:
        """End the connection when the requests that it has begun are answered."""
        self._keep_alive = False
        super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        """End an idle connection; a further request that has begun has its own deadline."""
        if self._is_idle():
            super().timeout_keep_alive_handler()

    # Input

    def data_received(self, data: bytes) -> None:
        """Feed the parser and bound what stays unfinished."""
        if self._line.is_ignoring:
            self._line.discard(len(data))
            return
        self._unset_keepalive_if_required()
        self._chunk_bytes = len(data)
        self._fed_bytes += self._chunk_bytes
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._read_without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(Code.BAD_REQUEST, self._fault)
        else:
            if self._fed_bytes or self.scope is not None:
                self._bound_unfinished()

    def _is_idle(self) -> bool:
        is_in_head: bool = self.scope is not None
        return self._fed_bytes == 0 and not is_in_head

    def _bound_unfinished(self) -> None:
        if self._fed_bytes > self._header_bytes_max:
            self._refuse(Code.BAD_REQUEST, RefusalReason.HEADER_BYTES)
        elif self._head_deadline is None and not self._line.unread:
            self._expect_head()

    def _read_without_upgrade(self, rest: bytes) -> None:
        # The parser takes an upgrade for the end of HTTP and leaves the body unread. RFC 9110 lets a server ignore the
        # wish, so the same request is read again without it. A tunnel, though, is nothing that this server offers.
        if self.scope["method"] == "CONNECT":
            self._refuse(Code.BAD_REQUEST, RefusalReason.MALFORMED)
            return
        head = [f"{self.scope['method']} ".encode("ascii"), self.url]
        head.append(f" HTTP/{self.scope.get('http_version', '1.1')}\r\n".encode("ascii"))
        head += [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        head += [b"\r\n", rest]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.data_received(b"".join(head))

    def _should_upgrade(self) -> bool:
        # Makes uvicorn leave a request alone that the parser took for an upgrade, until it is read again.
        return True

    # Callbacks of the parser. Those of a body are written out: uvicorn's ask the parser each time whether this is an
    # upgrade, which no body here belongs to.

    def on_headers_complete(self) -> None:
        """Begin the request, unless its head is too large or too many wait before it."""
        if self._fed_bytes > self._header_bytes_max or self._chunk_bytes > self._header_bytes_max:
            self._bound_fields(len(self.url))
        if len(self.pipeline) >= PIPELINED_REQUESTS_MAX:
            self._fault = RefusalReason.PIPELINED
            raise ValueError(self._fault)
        before = self.cycle
        super().on_headers_complete()
        self._fed_bytes = 0
        self._head_deadline = None
        cycle = self.cycle
        if cycle is before:
            return  # an upgrade, about to be read again
        # Until its body has arrived, an answer to this request ends the connection.
        self._keep_alive = cycle.keep_alive
        cycle.keep_alive = False
        self._line.unread = True
        self.scope = None  # type: ignore[assignment] # no head is under way, and the request has its scope
        self.headers = []  # what comes now are trailers, which are no headers

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header without the blanks behind its value, which RFC 9110 does not count to it."""
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value.rstrip(b" \t")))

    def on_body(self, body: bytes) -> None:
        """Hand on a piece of the body."""
        self._fed_bytes = 0
        cycle = self.cycle
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_response_complete(self) -> None:
        """Go on with the next request; one that waited behind this answer begins to wait for its turn only now."""
        if self.pipeline:
            self.pipeline[-1][0].scope["arrived"] = perf_counter()  # type: ignore[typeddict-unknown-key] # our own
        super().on_response_complete()

    def on_message_complete(self) -> None:
        """End the request: its connection may live on."""
        line = self._line
        if not line.unread:
            return  # an upgrade, about to be read again
        if self.headers:
            self._bound_fields(0)
        line.unread = False
        self._fed_bytes = 0
        cycle = self.cycle
        # From now on the request waits for nothing but this process.
        cycle.scope["arrived"] = perf_counter()  # type: ignore[typeddict-unknown-key] # our own
        cycle.more_body = False
        cycle.message_event.set()
        if not cycle.response_started:
            cycle.keep_alive = self._keep_alive

    def _bound_fields(self, size: int) -> None:
        # Colon, space and line end count as well. What is raised here, the parser turns into its own error.
        if size + sum(len(name) + len(value) + 4 for name, value in self.headers) > self._header_bytes_max:
            self._fault = RefusalReason.HEADER_BYTES
            raise ValueError(self._fault)

    # Time

    def _expect_head(self) -> None:
        timeout_s = self.limits.header_timeout_ms / 1000
        self._head_deadline = self.loop.time() + timeout_s
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(timeout_s, self._on_head_timer)

    def _on_head_timer(self) -> None:
        # A timer is never moved: one that comes too early for the present deadline is set again for the rest.
        self._head_timer = None
        if self._head_deadline is None or self._line.is_closing():
            return
        remaining_s = self._head_deadline - self.loop.time()
        if self.cycle is not None and not self.cycle.response_complete:
            # Reading may be paused while earlier requests are answered, which is no fault of the client.
            self._expect_head()
        elif remaining_s > 0:
            self._head_timer = self.loop.call_later(remaining_s, self._on_head_timer)
        elif self._is_idle():
            # Nothing was asked, so nothing is answered: a 408 might be taken for the answer to a request just sent.
            self._line.close()
        else:
            self._refuse(Code.BODY_TIMEOUT, RefusalReason.HEADER_TIME)

    # Answers without the app

    def _refuse(self, code: Code, reason: RefusalReason) -> None:
        """Read no further, and answer `code` unless that would mix with an answer of the app."""
        self.on_refused(reason)
        self._head_deadline = None
        cycle, line = self.cycle, self._line
        if cycle is not None and not cycle.response_complete:
            if not line.unread:  # what came before was complete and gets its answers
                cycle.keep_alive = False
                line.ignore()
                return
            if cycle.response_started or self.pipeline:
                line.abort()
                return
            cycle.disconnected = True
            cycle.message_event.set()
        line.write(self._error(code))
        line.linger()

    def _error(self, code: Code) -> bytes:
        request_id = new_request_id()
        self.on_answered(request_id, code)
        body = envelope(code, request_id)
        headers = [*self.server_state.default_headers, *error_headers(code, request_id, len(body))]
        lines = [STATUS_LINE[code.value.status], *(b"%b: %b\r\n" % header for header in headers)]
        return b"".join([*lines, b"connection: close\r\n\r\n", body])
