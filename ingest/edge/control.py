"""How a supervisor asks its workers for their state: a byte there, a length and a report back."""

import asyncio
import socket
from collections.abc import Callable
from typing import Final

import msgspec

from ingest.telemetry.snapshot import Snapshot

REPORT_BYTES_MAX: Final = 4 * 1024 * 1024
_QUESTION: Final = b"?"
_LENGTH_BYTES: Final = 4


class Report(msgspec.Struct):
    """A worker's state: why it should get no traffic (nothing when it may), and its figures."""

    reasons: list[str]
    figures: Snapshot


async def answer_reports(control: socket.socket, report: Callable[[], Report]) -> None:
    """Answer every question on `control` until the other end is closed."""
    reader, writer = await asyncio.open_connection(sock=control)
    try:
        while await reader.read(1):
            text = msgspec.msgpack.encode(report())
            writer.write(len(text).to_bytes(_LENGTH_BYTES, "big") + text)
            await writer.drain()
    finally:
        writer.close()


class ReportLine:
    """The supervisor's end. One question at a time, and a report that came too late is never taken for the next one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._lock = asyncio.Lock()
        self._owed: asyncio.Task[Report] | None = None

    async def ask(self, timeout_s: float) -> Report:
        """Return the worker's report. Raises `TimeoutError`, or `EOFError` or `OSError` where the worker is gone."""
        async with self._lock, asyncio.timeout(timeout_s):
            if self._owed is not None:  # the answer to a question that was given up
                await asyncio.shield(self._owed)
            self._writer.write(_QUESTION)
            self._owed = asyncio.get_running_loop().create_task(self._read())
            report = await asyncio.shield(self._owed)
            self._owed = None
            return report

    async def _read(self) -> Report:
        length = int.from_bytes(await self._reader.readexactly(_LENGTH_BYTES), "big")
        if length > REPORT_BYTES_MAX:
            raise OSError("the report is too long")
        return msgspec.msgpack.decode(await self._reader.readexactly(length), type=Report)

    def close(self) -> None:
        """Let the worker know that nobody asks any more: it stops."""
        if self._owed is not None:
            self._owed.cancel()
        self._writer.close()
