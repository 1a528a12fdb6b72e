"""A connection's way out: one send for an answer, and an end that waits for a client that is still sending.

A socket that is closed while unread input arrives is reset, and a reset can take the answer away from a client that
has not read it yet. So the write side is shut, and input is thrown away until the client has closed as well.
"""

import asyncio
from typing import Any, Final

LINGER_BYTES_MAX: Final = 8 * 1024 * 1024
"""Input that is thrown away at most: more than any SDK sends at once, so that it can read why its batch was refused."""

LINGER_MS_MAX: Final = 2_000
"""The longest time from the end of the answer to the end of the connection."""


_HEAD: Final = b"HTTP/1.1 "
_INTERIM: Final = b"HTTP/1.1 1"


class LingeringTransport(asyncio.Transport):
    """Stands in front of the connection's transport and decides how it is closed.

    While `unread` is True the client is expected to send more than will be read, and `close` lingers. From `ignore`
    on, `is_ignoring` tells the owner to hand its input to `discard`.

    An answer's head waits for its body, which comes in the same turn of the loop: a send costs more than all other work
    on a small request, and its reader wakes once.

    What only passes through is the connection's own method, because it is called for every request.
    """

    __slots__ = (
        "_discarded_bytes",
        "_head",
        "_is_lingering",
        "_loop",
        "_timer",
        "_transport",
        "get_extra_info",
        "is_closing",
        "is_ignoring",
        "pause_reading",
        "resume_reading",
        "unread",
    )

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._discarded_bytes = 0
        self._head = b""
        self._is_lingering = False
        self.is_ignoring = False
        self.unread = False
        self.is_closing = transport.is_closing  # type: ignore[method-assign]
        self.pause_reading = transport.pause_reading  # type: ignore[method-assign]
        self.resume_reading = transport.resume_reading  # type: ignore[method-assign]
        self.get_extra_info = transport.get_extra_info  # type: ignore[method-assign]

    def write(self, data: Any) -> None:
        """Send `data`, or keep it until the next write or the end of this turn where it is the head of an answer."""
        if self._head:
            data = self._head + data
            self._head = b""
        elif data.startswith(_HEAD) and not data.startswith(_INTERIM):
            self._head = data
            self._loop.call_soon(self.flush)
            return
        self._transport.write(data)

    def flush(self) -> None:
        """Send a head that has waited for nothing."""
        if self._head:
            head, self._head = self._head, b""
            self._transport.write(head)

    def is_lingering(self) -> bool:
        """Tell whether all is written and only the client's end is awaited."""
        return self._is_lingering

    def close(self) -> None:
        """End the connection: at once where the client has sent all, else after lingering."""
        self.flush()
        if self.unread:
            self.linger()
        elif not self._is_lingering:
            self._transport.close()

    def abort(self) -> None:
        """End the connection now, whatever was not sent or not read."""
        self._transport.abort()

    def ignore(self) -> None:
        """Read no more requests: what is in flight is answered, input is thrown away and the end lingers."""
        self.is_ignoring = True
        self.unread = True

    def linger(self) -> None:
        """Shut the write side behind what was written, then wait for the client within both bounds."""
        self.flush()
        if self.is_closing():
            return
        self._is_lingering = True
        self.is_ignoring = True
        self.is_closing = self.is_lingering  # type: ignore[method-assign]
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._transport.resume_reading()
        self._timer = self._loop.call_later(LINGER_MS_MAX / 1000, self._transport.abort)

    def discard(self, size: int) -> None:
        """Count `size` bytes of input that were thrown away; beyond the bound reading stops, or a lingering ends."""
        self._discarded_bytes += size
        if self._discarded_bytes > LINGER_BYTES_MAX:
            if self._is_lingering:
                self._transport.abort()
            else:
                self._transport.pause_reading()

    def lost(self) -> None:
        """Give up the timer: the connection is no more."""
        self.unread = False
        self.is_closing = self._transport.is_closing  # type: ignore[method-assign]
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
