"""Who is erased, as the transport of one process knows it: told by one part, asked by others."""

import asyncio
import contextlib
from typing import Final

from ingest.erasure import Erased

TOLD_S: Final = 10.0
"""Longest wait for being told for the first time, from the start of the process on."""


class KnownErased:
    """The list of who is erased, and whether it has been told at all."""

    def __init__(self) -> None:
        self.erased = Erased()
        self._told = asyncio.Event()

    def covers(self, value: bytes) -> bool:
        """Tell whether a record with this value must not go on."""
        return self.erased.covers(value)

    def told(self) -> None:
        """Note that the list is as good as it can be for now; until then nothing old goes on."""
        self._told.set()

    async def wait(self) -> None:
        """Wait for that, but not for long: consumers refuse those records all the same."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TOLD_S):
                await self._told.wait()


def nobody() -> KnownErased:
    """Return the list of a process that is told of nobody."""
    known = KnownErased()
    known.told()
    return known
