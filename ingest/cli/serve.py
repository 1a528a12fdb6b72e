"""`ingest serve`: the edge in production, configured by the environment alone."""

import asyncio
import os
import socket
from collections.abc import Callable

import click
import uvloop

from ingest.cli.environment import read_settings
from ingest.edge.server import listen
from ingest.edge.supervisor import Supervisor
from ingest.edge.worker import run_alone, run_as_one_of_several
from ingest.settings import Settings
from ingest.wiring.log import open_log
from ingest.wiring.partner import partner_description
from ingest.wiring.serving import build_worker, open_certificate


@click.command()
def serve() -> None:
    """Serve SDKs until SIGTERM.

    With INGEST_WORKERS above 1 this process supervises as many workers, replaces those that die, and answers the
    admin port for all of them.
    """
    settings = read_settings("serve", os.environ)
    if settings.workers == 1:
        uvloop.run(serve_alone(settings))
    else:
        asyncio.run(_supervise(settings))


async def serve_alone(
    settings: Settings, announce: Callable[[int, int], None] = lambda _port, _admin_port: None
) -> None:
    """Serve both surfaces in this process; `announce` hears their ports once requests are answered."""
    public, operators = listen(settings.host, settings.port), listen(settings.admin_host, settings.admin_port)
    ports = public.getsockname()[1], operators.getsockname()[1]
    await run_alone(build_worker(settings), public, operators, lambda: announce(*ports))


async def _supervise(settings: Settings) -> None:
    open_certificate(settings)  # one that no worker could use is told once, here
    log = open_log(settings)
    listener = listen(settings.host, settings.port)
    admin_listener = listen(settings.admin_host, settings.admin_port)
    try:
        await Supervisor(
            settings.workers,
            listener,
            admin_listener,
            drain_ms=settings.drain_timeout_ms,
            openapi=partner_description(settings),
        ).run()
    finally:
        log.close()


@click.command(hidden=True)
@click.option("--number", type=int, required=True)
@click.option("--listener", type=int, required=True)
@click.option("--control", type=int, required=True)
def worker(number: int, listener: int, control: int) -> None:
    """Serve as one of several workers, on file descriptors that the supervisor passed on."""
    del number  # it tells the processes apart in a list of them
    settings = read_settings("serve", os.environ)
    uvloop.run(
        run_as_one_of_several(build_worker(settings), socket.socket(fileno=listener), socket.socket(fileno=control))
    )
