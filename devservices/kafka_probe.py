"""A broker is asked, in Kafka's own protocol, which cluster it belongs to and which brokers serve in it."""

import socket
import struct
from typing import NamedTuple

from devservices.ports import HOST

_METADATA, _VERSION, _CORRELATION_ID, _NO_CLIENT_ID, _NO_TOPICS = 3, 2, 1, -1, 0
_REQUEST = struct.pack(">hhihi", _METADATA, _VERSION, _CORRELATION_ID, _NO_CLIENT_ID, _NO_TOPICS)
_ANSWER_BYTES_MAX = 64 * 1024


class ClusterView(NamedTuple):
    """What one broker knows: the id of its cluster and the node ids of the brokers that serve clients now."""

    cluster_id: str
    node_ids: frozenset[int]


def probe(port: int, timeout_s: float = 1.0) -> ClusterView | None:
    """Send a Metadata request (version 2, no topics); None if nobody answers it in time and in form."""
    try:
        with socket.create_connection((HOST, port), timeout_s) as connection:
            connection.sendall(struct.pack(">i", len(_REQUEST)) + _REQUEST)
            with connection.makefile("rb") as stream:
                (size,) = struct.unpack(">i", stream.read(4))
                if not 0 < size <= _ANSWER_BYTES_MAX:
                    return None
                return _read_answer(stream.read(size))
    except (OSError, struct.error, UnicodeDecodeError):
        return None


def _read_answer(answer: bytes) -> ClusterView:
    """Read correlation id, brokers (node id, host, port, rack) and cluster id; what follows is about topics."""
    _, count = struct.unpack_from(">ii", answer)
    at, node_ids = 8, set()
    for _ in range(count):
        (node_id,) = struct.unpack_from(">i", answer, at)
        node_ids.add(node_id)
        _, at = _read_string(answer, at + 4)  # host
        _, at = _read_string(answer, at + 4)  # rack, behind the port
    cluster_id, _ = _read_string(answer, at)
    return ClusterView(cluster_id, frozenset(node_ids))


def _read_string(answer: bytes, at: int) -> tuple[str, int]:
    """Return the nullable string at `at`, null as empty, and where it ends."""
    (length,) = struct.unpack_from(">h", answer, at)
    end = at + 2 + max(length, 0)
    return answer[at + 2 : end].decode(), end
