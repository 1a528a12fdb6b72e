"""The servers that are measured, each as a process of its own."""

import http.client
import os
import secrets
import sys
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from bench.connections import HOST
from bench.floor_server import ACCEPTED
from bench.topic import EventsTopic
from bench.workload import client_headers, workload
from devservices.child import Child
from devservices.ports import free_ports

ROOT: Final = Path(__file__).resolve().parent.parent
EXAMPLES: Final = ROOT / "examples"
START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 25.0
_POLL_S: Final = 0.05


class StartError(Exception):
    """A server that was to be measured did not come up, or does not do its work."""


class Server(NamedTuple):
    """A running server. `topic` is where its events go, None for a floor."""

    name: str
    port: int
    pid: int
    topic: EventsTopic | None = None


@contextmanager
def floor_server(name: str, folder: Path) -> Iterator[Server]:
    """Run one of the apps of `bench.floor_server`; raises `StartError`."""
    (port,) = free_ports(1)
    log = folder / f"floor-{name}.log"
    child = Child([sys.executable, "-m", "bench.floor_server", name, str(port)], stdout=log, cwd=ROOT)
    try:
        _wait_for_answer(child, port, log)
        yield Server(name, port, child.pid)
    finally:
        child.stop(STOP_TIMEOUT_S)


@contextmanager
def edge(folder: Path, bootstrap: str, workers: int) -> Iterator[Server]:
    """Run the service over a topic of its own, with logs and regions on; raises `StartError`."""
    name = "edge" if workers == 1 else f"edge x{workers}"
    log = folder / f"edge-{workers}.log"
    settings = _settings(folder, bootstrap, workers)
    topic_name = settings["INGEST_TOPIC_PREFIX"] + "events"
    with EventsTopic(bootstrap, topic_name) as topic, service(settings, log) as (child, port):
        _check_work(child, port, topic, log)
        yield Server(name, port, child.pid, topic)


@contextmanager
def service(settings: Mapping[str, str], log: Path) -> Iterator[tuple[Child, int]]:
    """Run the service on a free port with these `INGEST_*` settings and no others; raises `StartError`."""
    port, admin_port = free_ports(2)
    others = {name: value for name, value in os.environ.items() if not name.startswith("INGEST_")}
    environ = {**others, "INGEST_PORT": str(port), "INGEST_ADMIN_PORT": str(admin_port), **settings}
    child = Child([sys.executable, "-m", "ingest", "serve"], stdout=log, env=environ, cwd=ROOT)
    try:
        _wait_for_answer(child, port, log)
        yield child, port
    finally:
        child.stop(STOP_TIMEOUT_S)


def _settings(folder: Path, bootstrap: str, workers: int) -> dict[str, str]:
    """Return the settings of a service over topics of its own."""
    return {
        "INGEST_WORKERS": str(workers),
        "INGEST_DATA_DIR": str(folder / f"data-{workers}"),
        "INGEST_KAFKA_BOOTSTRAP": bootstrap,
        "INGEST_KAFKA_ALLOW_SINGLE_COPY": "true",
        "INGEST_TOPIC_PREFIX": f"bench.{secrets.token_hex(4)}.",
        "INGEST_APPS_FILE": str(EXAMPLES / "apps.toml"),
        "INGEST_GEOIP_PATH": str(EXAMPLES / "demo-geo.mmdb"),
        "INGEST_TRUSTED_PROXIES": "127.0.0.0/8",
        "INGEST_SPOOL_KEY": b64encode(secrets.token_bytes(32)).decode(),
    }


def _wait_for_answer(child: Child, port: int, log: Path) -> None:
    """Ask for `/health` until there is an answer of any kind."""
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until:
        if not child.running:
            raise StartError(f"a server ended at its start; its last lines:\n{_tail(log)}")
        try:
            _ask(port, "GET", "/health")
        except OSError:
            time.sleep(_POLL_S)
        else:
            return
    raise StartError(f"a server did not answer within {START_TIMEOUT_S:.0f} s; its last lines:\n{_tail(log)}")


def _check_work(child: Child, port: int, topic: EventsTopic, log: Path) -> None:
    """Send one batch and look at its records: a service that leaves work out would win every race."""
    batch = workload(20).bodies[0]
    until = time.monotonic() + START_TIMEOUT_S
    while (status := _ask(port, "POST", "/events", batch)) != ACCEPTED:
        if time.monotonic() >= until or not child.running:
            raise StartError(f"the service answers {status} to a good batch; its last lines:\n{_tail(log)}")
        time.sleep(_POLL_S)
    for record in topic.read_first(20):
        if record["meta"].get("country_code") != "DE" or "@" in str(record["event"]):
            raise StartError("the service's records have no region, or hold an address")


def _ask(port: int, method: str, path: str, body: bytes | None = None) -> int:
    connection = http.client.HTTPConnection(HOST, port, timeout=START_TIMEOUT_S)
    try:
        connection.request(method, path, body, client_headers("ios", 0))
        return connection.getresponse().status
    finally:
        connection.close()


def _tail(log: Path, lines: int = 8) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
