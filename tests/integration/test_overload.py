"""More than one worker can do: refused early, while what is accepted is answered in time."""

import re
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from ingest.edge.in_flight import InFlight
from ingest.errors import Code, Refusal
from tests.integration.edge import APP, WAIT_S, batch, event, new_id, on_local_log, post
from tests.support.service import ServiceProcess

CALLERS: Final = 100
EVENTS: Final = 100


def test_a_request_that_waited_too_long_is_turned_away() -> None:
    """Only beyond the bound; its place is given back like any other's."""
    in_flight = InFlight(requests_max=10, bytes_max=1_000, queue_s_max=0.5)
    slot = in_flight.enter()
    slot.begin(0.5)
    with pytest.raises(Refusal) as caught:
        slot.begin(0.6)
    slot.leave()

    assert caught.value.code is Code.OVERLOADED
    assert in_flight.requests == 0


def test_a_rush_is_shed_and_the_edge_recovers(tmp_path: Path) -> None:
    """Of a rush some are refused with advice that differs from one to the next; right afterwards all is well."""
    env = on_local_log(tmp_path, QUEUE_MS_MAX="20")
    body = batch(*[event(new_id(), text="ann@example.com " * 20) for _ in range(EVENTS)])
    head = f"POST /events HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-app-id: {APP}\r\ncontent-length: {len(body)}"
    with ServiceProcess(env, folder=tmp_path) as service, ExitStack() as stack:
        address = service.settings["INGEST_HOST"], int(service.settings["INGEST_PORT"])
        callers = [stack.enter_context(socket.create_connection(address, WAIT_S)) for _ in range(CALLERS)]
        for caller in callers:  # all of them are known, and idle
            caller.sendall(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
            assert caller.recv(65536).startswith(b"HTTP/1.1 200 ")
        service.pause()  # so that all batches have come before the first is read
        for caller in callers:
            caller.sendall(head.encode() + b"\r\n\r\n" + body)
        service.resume()
        answers = [read_all(caller) for caller in callers]
        after = post(service.url, batch(event(new_id())))
    refused = [answer for answer in answers if b"OVERLOADED" in answer]
    advice = {re.search(rb"retry-after: (\d+)", answer)[1] for answer in refused}  # type: ignore[index] # it is there

    assert {answer[:13] for answer in answers} == {b"HTTP/1.1 202 ", b"HTTP/1.1 503 "}
    assert len(refused) == sum(answer.startswith(b"HTTP/1.1 503 ") for answer in answers)
    assert len(advice) > 1
    assert after.status == 202


def read_all(caller: socket.socket) -> bytes:
    """Read an answer to the end of its connection."""
    pieces = []
    while piece := caller.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)
