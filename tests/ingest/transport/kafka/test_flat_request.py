import pytest
from aiokafka.protocol.produce import ProduceRequest_v3, ProduceRequest_v7
from aiokafka.protocol.struct import Struct

from ingest.transport.kafka.flat_request import encode_flat, install

TOPICS = [
    [],
    [("sdk.events", [(0, b"")])],
    [("sdk.events", [(0, b"some records"), (3, b"x" * 100_000)]), ("sdk.förward", [(2**31 - 1, bytes(range(256)))])],
]


@pytest.mark.parametrize("topics", TOPICS)
@pytest.mark.parametrize("version", [ProduceRequest_v3, ProduceRequest_v7])
def test_the_bytes_are_those_of_the_library(version: type[Struct], topics: list[object]) -> None:
    """Whatever is sent, the broker sees what aiokafka itself would have sent."""
    request = version(None, -1, 4_000, topics)

    assert encode_flat(request) == Struct.encode(request)


def test_installed_it_is_used() -> None:
    """A request of a producer is encoded so."""
    install()

    assert ProduceRequest_v7.encode is encode_flat
