"""One serving process: its parts, started in order and stopped in the reverse one."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from ingest.edge.admin import admin
from ingest.edge.control import Report, answer_reports
from ingest.edge.in_flight import InFlight
from ingest.edge.memory import settle
from ingest.edge.region import Regions
from ingest.edge.server import Server, admin_server
from ingest.edge.tls import Certificate
from ingest.registry.snapshot import Registry, Snapshot, changes
from ingest.telemetry.exposition import expose
from ingest.telemetry.log import Log
from ingest.telemetry.metric import Process
from ingest.telemetry.metrics import Figures
from ingest.telemetry.snapshot import Snapshot as FiguresSnapshot
from ingest.transport.contract import Publisher, SpoolState

GEO_RELOAD_S: Final = 5.0
CERTIFICATE_RELOAD_S: Final = 2.0
HURRY_S: Final = 1.0
"""Time for the answers in flight once a stop is hurried."""

_GRACE_SHARE: Final = 0.05  # of the time to stop: the balancer is told and connections are still accepted

_log = structlog.get_logger(__name__)


class Companion(Protocol):
    """A further part of a serving process, without which events are taken all the same."""

    async def start(self) -> None:
        """Begin; waits for nothing outside of this process."""

    async def close(self) -> None:
        """End, within the time that a stop leaves."""

    def sample(self, figures: Figures) -> None:
        """Set the figures that only this part knows."""


@dataclass(slots=True)
class Worker:
    """The parts of one serving process, made by `wiring`.

    `stop_ms` bounds the time from the signal to their end. `spool_state` tells what is spooled, `hurry` has whatever
    waits for Kafka spooled at once.
    """

    server: Server
    registry: Registry
    publisher: Publisher
    regions: Regions
    in_flight: InFlight
    figures: Figures
    log: Log
    stop_ms: int
    companions: tuple[Companion, ...] = ()
    spool_state: Callable[[], SpoolState] = SpoolState
    hurry: Callable[[], None] = lambda: None
    certificate: Certificate | None = None
    openapi: Callable[[], bytes] | None = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    hurried: asyncio.Event = field(default_factory=asyncio.Event)

    def report(self) -> Report:
        """Tell whether traffic may come, and the figures of this moment."""
        reasons = ["the process is stopping"] if self.stopping.is_set() else []
        health = self.publisher.health()
        if not health.ok:
            reasons.append(health.reason)
        return Report(reasons, self._sample())

    def _sample(self) -> FiguresSnapshot:
        figures, health, snapshot = self.figures, self.publisher.health(), self.registry.current()
        figures.in_flight_requests = self.in_flight.requests
        figures.in_flight_bytes = self.in_flight.bytes
        figures.connections = len(self.server.server_state.connections)
        figures.transport_ok = int(health.ok)
        figures.transport_pending_records = health.pending_records
        figures.transport_pending_age_seconds = health.pending_age_ms / 1000
        spool = self.spool_state()
        figures.spool_records |= {
            "stored": spool.stored,
            "drained": spool.drained,
            "waiting": spool.waiting,
            "set_aside": spool.set_aside,
            "erased": spool.erased,
        }
        figures.spool_bytes = spool.bytes_used
        figures.spool_oldest_age_seconds = spool.oldest_age_ms / 1000
        figures.breaker_open = int(spool.breaker_open)
        figures.breaker_trips = spool.trips
        figures.registry_apps = len(snapshot.admitted)
        figures.registry_loaded_timestamp_seconds = snapshot.loaded_at_ms / 1000
        figures.registry_problems = len(self.registry.problems())
        figures.geo_problems = len(self.regions.problems())
        figures.tls_problems = len(self.certificate.problems()) if self.certificate else 0
        figures.log_fields_dropped = self.log.fields_dropped
        for companion in self.companions:
            companion.sample(figures)
        figures.sample_process()
        return figures.snapshot()


async def run_alone(
    worker: Worker, listener: socket.socket, admin_listener: socket.socket, started: Callable[[], None]
) -> None:
    """Serve both surfaces until SIGTERM or SIGINT; `started` is called once requests are answered.

    Raises `ConfigurationError` where the transport may not be used, and `RegistryError` where no app can be read.
    """

    async def readiness() -> list[str]:
        return worker.report().reasons

    async def exposition() -> bytes:
        return expose(worker.report().figures, Process.EDGE)

    operators = admin_server(admin(readiness, exposition, worker.openapi))
    async with _serving(worker, listener) as serving:
        answering = asyncio.create_task(operators.serve(sockets=[admin_listener]))
        started()
        await _first(worker.stopping, serving, answering)
    operators.should_exit = True
    await answering


async def run_as_one_of_several(worker: Worker, listener: socket.socket, control: socket.socket) -> None:
    """Serve as a supervisor's child until SIGTERM, or until the supervisor at the other end of `control` is gone."""
    async with _serving(worker, listener) as serving:
        reporting = asyncio.create_task(answer_reports(control, worker.report))
        await _first(worker.stopping, serving, reporting)
        reporting.cancel()


@contextlib.asynccontextmanager
async def _serving(worker: Worker, listener: socket.socket) -> AsyncIterator[asyncio.Task[None]]:
    """Start all parts; at the end answer what is in flight, store what was taken, and stop them."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, worker)
    ends_at: float | None = None
    try:
        await worker.publisher.start()
        await worker.registry.start()
        announce_kills(Snapshot(), worker.registry.current())
        for companion in worker.companions:
            await companion.start()
        reloading = [asyncio.create_task(each) for each in _reloads(worker)]
        settle()
        serving = asyncio.create_task(worker.server.serve(sockets=[listener]))
        _log.info("started")
        yield serving
        ends_at = loop.time() + worker.stop_ms / 1000
        worker.stopping.set()
        hurrying = asyncio.create_task(_hurry(worker))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(worker.stop_ms * _GRACE_SHARE / 1000):
                await worker.hurried.wait()
        worker.server.should_exit = True
        await serving
        hurrying.cancel()
        for each in reloading:
            each.cancel()
    finally:
        try:
            async with asyncio.timeout_at(ends_at or loop.time() + worker.stop_ms / 1000):
                await worker.publisher.close()  # first, because it holds what was acknowledged
                await worker.registry.close()
                await asyncio.gather(*(_close(companion) for companion in worker.companions))
        except TimeoutError:
            _log.warning("stop_incomplete")
        _log.info("stopped")
        worker.log.close()


async def _close(companion: Companion) -> None:
    """End a companion; a bug in one keeps no other from ending."""
    try:
        await companion.close()
    except Exception as error:  # noqa: BLE001 - the process ends anyway, and what is stored is stored
        _log.error("bug", error=error)


def _on_signal(worker: Worker) -> None:
    """Stop at the first signal; at the second one stop waiting as well."""
    (worker.hurried if worker.stopping.is_set() else worker.stopping).set()


async def _hurry(worker: Worker) -> None:
    """At the second signal have what waits for Kafka spooled, and let no slow client hold up the end."""
    await worker.hurried.wait()
    _log.warning("hurried")
    worker.hurry()
    await asyncio.sleep(HURRY_S)
    worker.server.force_exit = True


def announce_kills(old: Snapshot, new: Snapshot) -> None:
    """Log every kill switch that differs, each as a warning: a kill is never silent."""
    for change in changes(old, new):
        _log.warning("kill_switch", scope=change.scope, id=change.id, killed=change.killed)


async def _first(stopping: asyncio.Event, *tasks: "asyncio.Task[None]") -> None:
    """Wait until the process is to stop, or one of its tasks has ended by itself."""
    waiting = asyncio.create_task(stopping.wait())
    await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


def _reloads(worker: Worker) -> Iterator[Coroutine[None, None, None]]:
    yield _reload(worker.regions.reload_if_changed, GEO_RELOAD_S)
    if worker.certificate is not None:
        yield _reload(worker.certificate.reload_if_changed, CERTIFICATE_RELOAD_S)


async def _reload(reload_if_changed: Callable[[], bool], every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        await asyncio.to_thread(reload_if_changed)
