"""The processes of one command of ours in one scene: started, ended, killed, and never gone by themselves."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from tests.integration.edge import memory
from tests.support.program import Program


class Programs:
    """The processes of `ingest COMMAND` of one scene, numbered as they were started."""

    def __init__(self, command: str, settings: Mapping[str, str], folder: Path) -> None:
        self._command = command
        self._settings = settings
        self._folder = folder
        self._started = 0
        self._running: dict[int, Program] = {}
        self.peak_mib = 0.0
        """The most memory that one of them ever had."""

    async def start(self) -> int:
        """Start one more, and return its number."""
        number, self._started = self._started, self._started + 1
        folder = self._folder / f"{self._command}-{number}"
        settings = {**self._settings, "INGEST_DATA_DIR": str(folder / "data")}
        self._running[number] = await asyncio.to_thread(
            lambda: Program(self._command, settings=settings, folder=folder)
        )
        return number

    async def stop(self, number: int) -> None:
        """Ask one to end, and check that it ends well."""
        self.note_memory()
        code = await asyncio.to_thread(self._running.pop(number).stop)
        assert code == 0, f"{self._command} {number} ended with exit code {code}"

    async def kill(self, number: int) -> None:
        """Kill one as a crash would."""
        self.note_memory()
        await asyncio.to_thread(self._running.pop(number).kill)

    async def stop_all(self) -> None:
        """Ask all that run to end, and check that they end well."""
        for number in tuple(self._running):
            await self.stop(number)

    async def kill_all(self) -> None:
        """Kill what still runs."""
        for program in self._running.values():
            await asyncio.to_thread(program.kill)

    def note_memory(self) -> float:
        """Keep the most memory that one of them ever had, MiB, and return it."""
        for number, program in self._running.items():
            assert program.running, f"{self._command} {number} ended by itself"
            self.peak_mib = max(self.peak_mib, memory(program.pid).peak_mib)
        return self.peak_mib
