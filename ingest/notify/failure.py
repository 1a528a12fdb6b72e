"""An attempt that failed, told by a short code."""

import socket
import ssl
from typing import Final

_CODES: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (ssl.SSLError, "tls"),
    (TimeoutError, "timeout"),
    (ConnectionRefusedError, "refused"),
    (socket.gaierror, "name_not_resolved"),
)


class Undelivered(Exception):  # noqa: N818 - a state of the world, not a fault of ours
    """A message was not taken, as far as is known; `code` says why, and holds nothing of address, message or answer."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def network_failure(error: BaseException) -> Undelivered:
    """Tell what became of a connection by the errors behind an error."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        seen.append(cause)
        cause = cause.__cause__ or cause.__context__
    for kind, code in _CODES:
        if any(isinstance(one, kind) for one in seen):
            return Undelivered(code)
    return Undelivered("unreachable" if any(type(one) is OSError for one in seen) else "broken_off")
