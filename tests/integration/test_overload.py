"""More than one worker can do: refused early, while what is accepted is answered in time."""

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from ingest.edge.in_flight import InFlight
from ingest.errors import Code, Refusal
from tests.integration.edge import Answer, await_true, batch, event, new_id, on_local_log, post
from tests.support.service import ServiceProcess

CALLERS: Final = 120
EVENTS: Final = 150


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
    env = on_local_log(tmp_path, QUEUE_MS_MAX="20", IN_FLIGHT_REQUESTS_MAX="1000")
    body = batch(*[event(new_id(), text="ann@example.com " * 20) for _ in range(EVENTS)])
    with ServiceProcess(env, folder=tmp_path) as service, ThreadPoolExecutor(CALLERS) as callers:
        service.pause()  # all of them have come before the first is read
        rush = [callers.submit(post, service.url, body) for _ in range(CALLERS)]
        await_true(lambda: sum(future.running() for future in rush) == CALLERS, "all are sent")
        await_true(lambda: waiting_connections(service) >= CALLERS, "all have come")
        service.resume()
        answers: list[Answer] = [future.result(60) for future in rush]
        after = post(service.url, batch(event(new_id())))
    refused = [answer for answer in answers if answer.status != 202]

    assert {answer.status for answer in answers} == {202, 503}
    assert {answer.code for answer in refused} == {"OVERLOADED"}
    assert len({answer.headers["retry-after"] for answer in refused}) > 1
    assert after.status == 202


def waiting_connections(service: ServiceProcess) -> int:
    """Count the established connections to the public port, as the kernel tells."""
    port = f"{int(service.settings['INGEST_PORT']):04X}"
    address = "".join(f"{octet:02X}" for octet in reversed(socket.inet_aton("127.0.0.1")))
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    return sum(line.split()[1] == f"{address}:{port}" and line.split()[3] == "01" for line in lines)
