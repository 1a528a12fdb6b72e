"""The admin surface of a background process: there as long as the work, and honest about it."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from devservices.ports import HOST, free_ports
from ingest.settings import Settings
from ingest.telemetry import log as logging
from ingest.telemetry.metric import Process
from ingest.telemetry.snapshot import Sample
from ingest.telemetry.watch import Watch
from ingest.transport.contract import ConfigurationError
from ingest.wiring.admin import Watched, admin_surface
from tests.integration.edge import Answer, ask


class World:
    """A process that tells what it is told to tell."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.rows = 0
        self.is_away = False

    def watched(self) -> Watched:
        """Return what it tells."""
        samples = lambda: [Sample("ingest_persist_rows_total", ("inserted",), self.rows)]  # noqa: E731 - a line
        watch = Watch("database", self._ask, pause_s=0.001)
        return Watched(Process.PERSIST, lambda: self.reasons, samples, (watch,))

    async def _ask(self) -> None:
        if self.is_away:
            raise OSError


def served(settings: Settings, watched: Watched, work: Callable[[int], Awaitable[None]]) -> None:
    """Do `work` while the surface answers, given its port."""

    async def play(log: logging.Log) -> None:
        async with admin_surface(settings, watched, log) as port:
            await work(port)

    with Path(os.devnull).open("wb") as sink:
        log = logging.configure(fd=sink.fileno())
        try:
            asyncio.run(play(log))
        finally:
            log.close()


async def get(port: int, path: str) -> Answer:
    """Ask the surface."""
    return await asyncio.to_thread(ask, f"http://{HOST}:{port}", path)


async def until(port: int, status: int) -> Answer:
    """Ask whether it is ready until the answer has this status."""
    while (answer := await get(port, "/ready")).status != status:
        pass
    return answer


def test_it_answers_while_the_work_lasts() -> None:
    """It tells that the process lives, whether it is ready, and its figures and no others."""
    world = World()

    async def work(port: int) -> None:
        assert (await get(port, "/live")).status == 200
        assert (await until(port, 200)).json() == {"status": "ok"}
        world.rows, world.reasons = 3, ["not read yet: events"]
        answer = await get(port, "/ready")
        assert (answer.status, answer.json()["reasons"]) == (503, ["not read yet: events"])
        figures = (await get(port, "/metrics")).body.decode()
        assert 'ingest_persist_rows_total{result="inserted"} 3.0' in figures
        assert 'ingest_dependency_away{dependency="database"} 0.0' in figures
        assert "ingest_process_resident_bytes " in figures
        assert "ingest_requests_total" not in figures
        assert (await get(port, "/openapi.json")).status == 404

    served(Settings(admin_port=0), world.watched(), work)


def test_what_is_watched_makes_it_unready() -> None:
    """A database that does not answer is told once, whoever noticed, and goes as soon as it answers."""
    world = World()

    async def work(port: int) -> None:
        await until(port, 200)
        world.is_away, world.reasons = True, ["the database is away"]
        answer = await until(port, 503)
        assert answer.json()["reasons"] == ["the database is away"]
        world.reasons = []
        while 'ingest_dependency_away{dependency="database"} 1.0' not in (await get(port, "/metrics")).body.decode():
            pass
        world.is_away = False
        await until(port, 200)

    served(Settings(admin_port=0), world.watched(), work)


def test_it_ends_with_the_work() -> None:
    """Also where the work ends badly; the port is free again."""
    (port,) = free_ports(1)

    async def work(_: int) -> None:
        await get(port, "/live")
        raise RuntimeError

    for _ in range(2):
        with pytest.raises(RuntimeError):
            served(Settings(admin_port=port), World().watched(), work)
    with pytest.raises(ConnectionRefusedError):
        ask(f"http://{HOST}:{port}", "/live")


def test_a_port_that_is_taken_is_one_clear_line() -> None:
    """It tells which port, and what to set."""

    async def again(port: int) -> None:
        with pytest.raises(ConfigurationError, match=rf"{HOST}:{port}.*INGEST_ADMIN_PORT") as caught:
            async with admin_surface(Settings(admin_port=port), World().watched(), None):  # type: ignore[arg-type]
                pass
        assert "\n" not in str(caught.value)

    served(Settings(admin_port=0), World().watched(), again)
