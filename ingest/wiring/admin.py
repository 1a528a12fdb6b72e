"""The admin surface of a background process: `/live`, `/ready` and `/metrics`, beside its work."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, NamedTuple

import structlog

from ingest.edge.admin import admin
from ingest.edge.server import admin_server, listen
from ingest.settings import Settings
from ingest.telemetry.exposition import expose
from ingest.telemetry.log import Log
from ingest.telemetry.metric import Process
from ingest.telemetry.process import process_samples
from ingest.telemetry.snapshot import Sample, Snapshot
from ingest.telemetry.watch import Watch
from ingest.transport.contract import ConfigurationError

_log = structlog.get_logger(__name__)


class Watched(NamedTuple):
    """What a background process tells of itself: why it is not ready, in words for an operator, and its own figures.

    `watches` tell of what it needs; they are at work for as long as the surface is there.
    """

    process: Process
    reasons: Callable[[], Iterable[str]]
    samples: Callable[[], Iterable[Sample]]
    watches: tuple[Watch[Any], ...] = ()


@contextlib.asynccontextmanager
async def admin_surface(settings: Settings, watched: Watched, log: Log) -> AsyncIterator[int]:
    """Answer on the admin port for as long as the block lasts; yield the port.

    Raises `ConfigurationError` where the port cannot be had.
    """
    listener = _listen(settings)
    host, port, *_ = listener.getsockname()

    async def readiness() -> list[str]:
        return list(dict.fromkeys([*watched.reasons(), *(each.reason for each in watched.watches if each.is_away)]))

    async def exposition() -> bytes:
        return expose(Snapshot(tuple(_samples(watched, log))), watched.process)

    server = admin_server(admin(readiness, exposition))
    async with contextlib.AsyncExitStack() as stack:
        for watch in watched.watches:
            await stack.enter_async_context(watch.at_work())
        answering = asyncio.create_task(server.serve(sockets=[listener]))
        _log.info("admin_surface", host=host, port=port)
        try:
            yield port
        finally:
            server.should_exit = True
            await answering
            listener.close()


def _listen(settings: Settings) -> socket.socket:
    try:
        return listen(settings.admin_host, settings.admin_port)
    except OSError as error:
        raise ConfigurationError(
            f"{error}; every process on a machine needs an INGEST_ADMIN_PORT of its own, or 0"
        ) from error


def _samples(watched: Watched, log: Log) -> Iterable[Sample]:
    yield from watched.samples()
    for watch in watched.watches:
        yield Sample("ingest_dependency_away", (watch.name,), int(watch.is_away))
    yield from process_samples(log.fields_dropped)
