"""Waiting for what must come, without guessing how long it takes."""

import time
from collections.abc import Callable

from tests.journey.caller import Caller
from tests.support.service import ServiceProcess

WAIT_S = 20.0
_TICK_S = 0.02


def until(holds: Callable[[], bool]) -> None:
    """Return as soon as `holds` does; fail after `WAIT_S`."""
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(_TICK_S)


def figure(service: ServiceProcess, name: str) -> float:
    """Return a figure without labels from the service's metrics."""
    lines = Caller(service.admin_url).send("GET", "/metrics").body.decode().splitlines()
    (value,) = [line.split()[1] for line in lines if line.startswith(f"{name} ")]
    return float(value)
