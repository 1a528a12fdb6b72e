"""How much is being worked on at once: beyond its bounds a request is refused at once instead of waiting."""

from types import TracebackType
from typing import Self

from ingest.errors import Code, Refusal


class InFlight:
    """Counts the requests that are being answered, and the bytes that they hold, against two bounds.

    A third one, `queue_s_max`, is on the time that a request waits for its turn once it has arrived: with more than
    that this process is asked for more than it can do, and whoever is turned away leaves time for those who are not.
    """

    __slots__ = ("bytes", "bytes_max", "queue_s_max", "requests", "requests_max")

    def __init__(self, *, requests_max: int, bytes_max: int, queue_s_max: float = 1.0) -> None:
        self.requests_max = requests_max
        self.bytes_max = bytes_max
        self.queue_s_max = queue_s_max
        self.requests = 0
        self.bytes = 0

    def enter(self) -> "Slot":
        """Count one more request. Raises `Refusal` with `OVERLOADED`, counting nothing, where there is no room."""
        if self.requests >= self.requests_max or self.bytes >= self.bytes_max:
            raise Refusal(Code.OVERLOADED)
        self.requests += 1
        return Slot(self)


class Slot:
    """One request's place; it must be left exactly once."""

    __slots__ = ("_all", "bytes")

    def __init__(self, everything: InFlight) -> None:
        self._all = everything
        self.bytes = 0

    def grow(self, size: int) -> None:
        """Count `size` more bytes. Raises `Refusal` with `OVERLOADED` beyond the bound; then they are not counted."""
        if self._all.bytes + size > self._all.bytes_max:
            raise Refusal(Code.OVERLOADED)
        self._all.bytes += size
        self.bytes += size

    def begin(self, waited_s: float) -> None:
        """Begin to work on a request that waited so long. Raises `Refusal` with `OVERLOADED` beyond the bound."""
        if waited_s > self._all.queue_s_max:
            raise Refusal(Code.OVERLOADED)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def leave(self) -> None:
        """Give back the place and all bytes."""
        self._all.requests -= 1
        self._all.bytes -= self.bytes
