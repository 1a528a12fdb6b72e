"""Reading a request's body under limits of size and time."""

import asyncio
import types
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from typing import Any, Final

from ingest.errors import Code, Refusal

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
"""The receive channel of ASGI."""

TOTAL_TIMEOUTS: Final = 6
"""A whole body may take this many idle timeouts, so that a byte now and then cannot hold its place for ever."""


class ClientGone(Exception):  # noqa: N818 - nobody's fault, and nobody is left to be answered
    """The client closed the connection before its body was complete."""


async def read_body(
    receive: Receive, *, content_length: int | None, bytes_max: int, timeout_ms: int, grow: Callable[[int], None]
) -> bytes:
    """Return the body, at most `bytes_max` bytes.

    `grow` hears the number of bytes of each part before it is kept and may raise to refuse it; giving back what it
    counted is the caller's. `timeout_ms` bounds the wait for each next part. Raises `Refusal`: `PAYLOAD_TOO_LARGE`,
    on a declared length (`content_length`, None for a chunked body) before anything is read, and `BODY_TIMEOUT`.
    Raises `ClientGone` on a disconnect.
    """
    if content_length is not None and content_length > bytes_max:
        raise _too_large(bytes_max)
    reading = receive().__await__()
    try:
        waiting = next(reading)
    except StopIteration as arrived:
        message: Message = arrived.value
    else:
        started = _resumed(reading, waiting)
        return await _read_parts(receive, bytearray(), started, bytes_max=bytes_max, timeout_ms=timeout_ms, grow=grow)
    body = _checked_part(message, 0, bytes_max, grow)
    if not message.get("more_body", False):
        return body  # it was all there already: no timer was started for it
    return await _read_parts(receive, bytearray(body), None, bytes_max=bytes_max, timeout_ms=timeout_ms, grow=grow)


async def _read_parts(
    receive: Receive,
    body: bytearray,
    started: Awaitable[Message] | None,
    *,
    bytes_max: int,
    timeout_ms: int,
    grow: Callable[[int], None],
) -> bytes:
    """Append the parts to `body`: kept one by one, parts of two bytes would take twenty times what is counted."""
    now = asyncio.get_running_loop().time
    timeout_s = timeout_ms / 1000
    ends_at = now() + TOTAL_TIMEOUTS * timeout_s
    try:
        async with asyncio.timeout(timeout_s) as limit:
            more = True
            while more:
                message = await (started or receive())
                started = None
                body += _checked_part(message, len(body), bytes_max, grow)
                more = message.get("more_body", False)
                limit.reschedule(min(now() + timeout_s, ends_at))
    except TimeoutError:
        raise Refusal(Code.BODY_TIMEOUT) from None
    return bytes(body)


@types.coroutine
def _resumed(reading: Generator[Any, Any, Message], waiting: Any) -> Generator[Any, Any, Message]:
    """Go on awaiting what was started by hand and has handed out `waiting`."""
    while True:
        try:
            try:
                sent = yield waiting
            except BaseException as thrown:  # noqa: BLE001 - a cancellation belongs to what is being awaited
                waiting = reading.throw(thrown)
            else:
                waiting = reading.send(sent)
        except StopIteration as arrived:
            message: Message = arrived.value
            return message


def _checked_part(message: Message, read_bytes: int, bytes_max: int, grow: Callable[[int], None]) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientGone
    part: bytes = message.get("body", b"")
    if read_bytes + len(part) > bytes_max:
        raise _too_large(bytes_max)
    grow(len(part))
    return part


def _too_large(bytes_max: int) -> Refusal:
    return Refusal(Code.PAYLOAD_TOO_LARGE, details={"limit": "body_bytes", "max": bytes_max})
