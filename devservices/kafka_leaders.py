"""Leaders of partitions moved on purpose: Kafka's request ElectLeaders, which its Python clients do not have."""

import socket
import struct
from typing import Final

from devservices.errors import DevServiceError
from devservices.ports import HOST

_ELECT_LEADERS, _VERSION, _CORRELATION_ID, _NO_CLIENT_ID = 43, 1, 1, -1
_PREFERRED, _ALL_TOPICS = 0, -1
TIMEOUT_MS: Final = 10_000


def elect_preferred_leaders(port: int) -> None:
    """Have the first replica of every partition made its leader, where it is in sync.

    Raises `DevServiceError` where the broker on `port` refuses, `OSError` where it does not answer.
    """
    head = struct.pack(">hhih", _ELECT_LEADERS, _VERSION, _CORRELATION_ID, _NO_CLIENT_ID)
    request = head + struct.pack(">bii", _PREFERRED, _ALL_TOPICS, TIMEOUT_MS)
    with socket.create_connection((HOST, port), TIMEOUT_MS / 1000) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        with connection.makefile("rb") as stream:
            (size,) = struct.unpack(">i", stream.read(4))
            answer = stream.read(size)
    _, _, code = struct.unpack_from(">iih", answer)  # correlation id, throttle time, error
    if code:
        raise DevServiceError(f"the election of leaders failed with code {code}")
