"""Produce requests encoded in one piece.

aiokafka joins a request level by level, and so copies every record five times more than it has to: some megabytes for
each round, 2 us an event. The bytes are the same; a test compares them.
"""

import struct
from typing import Any, Final

from aiokafka.protocol import produce

_HEAD: Final = struct.Struct(">hhii")  # no transactional id, acks, timeout, number of topics
_NO_STRING: Final = -1
_COUNT: Final = struct.Struct(">i")
_PARTITION: Final = struct.Struct(">ii")  # its number, bytes of its records

_FLAT: Final = (
    produce.ProduceRequest_v3,
    produce.ProduceRequest_v4,
    produce.ProduceRequest_v5,
    produce.ProduceRequest_v6,
    produce.ProduceRequest_v7,
)
"""The versions that share one form."""


def encode_flat(request: Any) -> bytes:
    """Return what `request.encode()` of a producer without transactions returns."""
    parts: list[bytes] = [_HEAD.pack(_NO_STRING, request.required_acks, request.timeout, len(request.topics))]
    for topic, partitions in request.topics:
        name = topic.encode()
        parts += (len(name).to_bytes(2, "big"), name, _COUNT.pack(len(partitions)))
        for number, records in partitions:
            parts += (_PARTITION.pack(number, len(records)), records)
    return b"".join(parts)


def install() -> None:
    """Have all producers of this process encode so. Repeating is a no-op."""
    for version in _FLAT:
        version.encode = encode_flat
