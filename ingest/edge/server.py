"""The HTTP servers: uvicorn, with our own connections on the public one and without its handling of signals."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from ingest.edge.protocol import ConnectionLimits, EdgeProtocol, protocol_class

BACKLOG: Final = 2048
_ADMIN_LIMITS: Final = ConnectionLimits(header_bytes_max=32 * 1024, header_timeout_ms=5_000, connections_max=256)


class Server(uvicorn.Server):
    """A server that is stopped by `should_exit` alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to whoever runs the process."""
        yield


def public_server(app: ASGIApp, protocol: type[EdgeProtocol], *, keep_alive_ms: int, drain_ms: int) -> Server:
    """Return the server of the surface for SDKs; `drain_ms` bounds the answers that a stop waits for."""
    return _server(app, protocol, keep_alive_s=keep_alive_ms // 1000, drain_s=drain_ms // 1000)


def admin_server(app: ASGIApp) -> Server:
    """Return the server of the admin surface."""
    return _server(app, protocol_class(_ADMIN_LIMITS), keep_alive_s=5, drain_s=1)


def _server(app: ASGIApp, protocol: type[EdgeProtocol], *, keep_alive_s: int, drain_s: int) -> Server:
    return Server(
        uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,  # the client's address is ours to resolve
            server_header=False,
            date_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=max(1, keep_alive_s),
            timeout_graceful_shutdown=max(1, drain_s),
        )
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises `OSError` with the address where it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from error
