"""Both platforms and their control surface as one bare ASGI callable."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

from devservices.platforms.control import Control
from devservices.platforms.reception import Reception
from devservices.platforms.twin import Answer, Request, Twin

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

TRANSPORT: Final = "transport"
"""Where in the scope's `state` the server puts the connection."""

_BODY_BYTES_MAX: Final = 32 * 1024 * 1024
_TOO_LARGE: Final = Answer(413, b"{}")
_SILENCE_S_MAX: Final = 300.0
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER for no time at all


class App:
    """Answers HTTP requests. `release` ends what waits or is silent, before the server ends."""

    def __init__(self, twins: Sequence[Twin], reception: Reception, control: Control) -> None:
        self._twins = twins
        self._reception = reception
        self._control = control
        self._ended = asyncio.Event()

    def release(self) -> None:
        """Let nobody wait any longer; called in the server's loop."""
        self._ended.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or do not."""
        body = await _read(receive)
        if body is None:
            await _answer(send, _TOO_LARGE)  # which goes nowhere if the client has gone
            return
        path, method = scope["path"], scope["method"]
        query = dict(reversed(parse_qsl(scope["query_string"].decode("latin-1"))))
        twin = next((twin for twin in self._twins if twin.concerns(path)), None) if method == "POST" else None
        if twin is None:
            await _answer(send, self._control.answer(method, path, query, body))
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        reaction = self._reception.receive(twin, Request(path, headers, query, body))
        if reaction.delay_s:
            await self._pause(reaction.delay_s)
        if reaction.answer is not None:
            await _answer(send, reaction.answer)
            return
        transport: asyncio.Transport = scope["state"][TRANSPORT]
        if reaction.reset:
            _reset_on_close(transport)
        else:
            await self._silence(receive)
        transport.abort()
        await _until_gone(receive)

    async def _pause(self, delay_s: float) -> None:
        try:
            async with asyncio.timeout(delay_s):
                await self._ended.wait()
        except TimeoutError:
            return

    async def _silence(self, receive: Receive) -> None:
        """Wait until the client has gone, or everything ends."""
        waits = (asyncio.create_task(_until_gone(receive)), asyncio.create_task(self._ended.wait()))
        _, left = await asyncio.wait(waits, timeout=_SILENCE_S_MAX, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def _read(receive: Receive) -> bytes | None:
    """Return the body; None where the client went away or sent too much."""
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message["body"])
        size += len(message["body"])
        if size > _BODY_BYTES_MAX:
            return None
        if not message["more_body"]:
            return b"".join(pieces) if len(pieces) > 1 else pieces[0]


async def _answer(send: Send, answer: Answer) -> None:
    headers = [
        (b"content-type", answer.content_type.encode()),
        (b"content-length", b"%d" % len(answer.body)),
    ]
    if answer.retry_after is not None:
        headers.append((b"retry-after", answer.retry_after.encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _reset_on_close(transport: asyncio.Transport) -> None:
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
