"""What an account may do, as the brokers tell it: asked, not tried, so that nothing is written.

The question is a version of the metadata request that aiokafka does not know; brokers since 2.3 answer it. Without an
authorizer they tell that everything is allowed.
"""

import enum
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

_UNTOLD: Final = -(2**31)
"""What a broker answers that was not asked, or does not tell."""

_TEXT: Final = String("utf-8")


class Right(enum.IntEnum):
    """Operations by their number in the protocol, which is that of their bit in an answer."""

    READ = 3
    WRITE = 4
    CREATE = 5
    DELETE = 6
    DESCRIBE = 8
    DESCRIBE_CONFIGS = 10


class _Rights(Response):  # type: ignore[misc] # aiokafka has no types
    API_KEY = 3
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", Array(("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT))),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", _TEXT),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("authorized_operations", Int32),
    )


class _Question(RequestStruct):  # type: ignore[misc] # aiokafka has no types
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _Rights
    SCHEMA = Schema(
        ("topics", Array(_TEXT)),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class RightsRequest(Request[_Question]):  # type: ignore[misc] # aiokafka has no types
    """Ask what may be done with each of these topics; it makes none."""

    API_KEY: ClassVar[int] = 3

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)

    def build(self, request_struct_class: type[_Question]) -> _Question:
        """Return the request as it is sent."""
        return request_struct_class(self._names, False, False, True)  # noqa: FBT003 - in the order of the protocol


def rights_of(answer: Any) -> Mapping[str, frozenset[Right] | None]:
    """Return the rights for each topic of an answer that is known, None where the broker does not tell them."""
    return {
        each["topic"]: None if each["authorized_operations"] == _UNTOLD else _read(each["authorized_operations"])
        for each in answer.to_object()["topics"]
        if each["error_code"] == 0
    }


def _read(bits: int) -> frozenset[Right]:
    return frozenset(right for right in Right if bits >> right & 1)
