"""The HTTP servers: uvicorn, with our own connections, TLS with bounds, and without its handling of signals."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from ingest.edge.linger import LINGER_MS_MAX
from ingest.edge.protocol import ConnectionLimits, EdgeProtocol, protocol_class
from ingest.edge.secure import HSTS
from ingest.edge.tls import Certificate

BACKLOG: Final = 2048
_ADMIN_LIMITS: Final = ConnectionLimits(header_bytes_max=32 * 1024, header_timeout_ms=5_000, connections_max=256)


class Server(uvicorn.Server):
    """A server that is stopped by `should_exit` alone, and on TLS waits for nobody longer than the protocol says."""

    def __init__(self, config: uvicorn.Config, protocol: type[EdgeProtocol]) -> None:
        super().__init__(config)
        self._protocol = protocol

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to whoever runs the process."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on `sockets` as uvicorn does, on TLS with bounds on both ends of a connection.

        uvicorn cannot be told them, and asyncio's own are 60 s for a handshake and 30 s for a farewell.
        """
        if self.config.ssl is None or sockets is None:
            await super().startup(sockets)
            return
        self.server_state.default_headers = self.config.encoded_headers
        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_server(
                lambda: self._protocol(self.config, self.server_state, {}),
                sock=each,
                backlog=BACKLOG,
                ssl=self.config.ssl,
                ssl_handshake_timeout=self._protocol.limits.header_timeout_ms / 1000,
                ssl_shutdown_timeout=LINGER_MS_MAX / 1000,
            )
            for each in sockets
        ]
        self.started = True


def public_server(
    app: ASGIApp,
    protocol: type[EdgeProtocol],
    *,
    keep_alive_ms: int,
    drain_ms: int,
    certificate: Certificate | None = None,
) -> Server:
    """Return the server of the surface for SDKs, on TLS where there is a certificate.

    `drain_ms` bounds the answers that a stop waits for.
    """
    return _server(app, protocol, keep_alive_s=keep_alive_ms // 1000, drain_s=drain_ms // 1000, certificate=certificate)


def admin_server(app: ASGIApp) -> Server:
    """Return the server of the admin surface."""
    return _server(app, protocol_class(_ADMIN_LIMITS), keep_alive_s=5, drain_s=1)


def _server(
    app: ASGIApp,
    protocol: type[EdgeProtocol],
    *,
    keep_alive_s: int,
    drain_s: int,
    certificate: Certificate | None = None,
) -> Server:
    name, value = HSTS
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
            headers=[(name.decode(), value.decode())] if certificate else None,
            ssl_context_factory=(lambda *_: certificate.context) if certificate else None,
        ),
        protocol,
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises `OSError` with the address where it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from error
