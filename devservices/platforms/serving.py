"""HTTP/1.1 for the fake platforms: uvicorn's protocol on httptools, without its server and its signals."""

import asyncio
import socket
from typing import Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from devservices.platforms.app import TRANSPORT, App

BACKLOG: Final = 2048
_KEEP_ALIVE_S: Final = 120
_END_S_MAX: Final = 10.0


class _Protocol(HttpToolsProtocol):
    """Also hands the connection to the app, which may have to break it."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"][TRANSPORT] = self.transport


async def serve(app: App, listener: socket.socket, stop: asyncio.Event) -> None:
    """Serve on `listener` until `stop`; then every connection is cut, and the listener closed."""
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
    )
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: _Protocol(config, state, {}), sock=listener, backlog=BACKLOG
    )
    await stop.wait()
    server.close()
    app.release()
    for connection in tuple(state.connections):
        connection.transport.abort()
    if state.tasks:
        await asyncio.wait(state.tasks, timeout=_END_S_MAX)
    await asyncio.sleep(0)  # an aborted transport closes its socket in the loop's next turn
