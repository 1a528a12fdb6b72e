"""Whether something outside of the process answers, found out in the background, so that nobody waits for it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Generic, TypeVar

import structlog

T = TypeVar("T")

PAUSE_S: Final = 2.0
LIMIT_S: Final = 2.0
"""Longest wait for one answer."""

_log = structlog.get_logger(__name__)


class Watch(Generic[T]):
    """Asks again and again for as long as the block `at_work` lasts. It is away until it has answered.

    `name` is what is asked, as operators call it; `answer` its latest answer.
    """

    def __init__(
        self, name: str, ask: Callable[[], Awaitable[T]], *, pause_s: float = PAUSE_S, limit_s: float = LIMIT_S
    ) -> None:
        self.name = name
        self.answer: T | None = None
        self.is_away = True
        self._ask = ask
        self._pause_s = pause_s
        self._limit_s = limit_s
        self._answered_s = 0.0

    @property
    def reason(self) -> str:
        """Why the process is not ready; empty where it may be."""
        return f"the {self.name} is away" if self.is_away else ""

    @property
    def age_s(self) -> float:
        """Seconds since the latest answer."""
        return time.monotonic() - self._answered_s

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Ask in the background."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def _run(self) -> None:
        told = False
        while True:
            try:
                async with asyncio.timeout(self._limit_s):
                    self.answer = await self._ask()
            except Exception as error:  # noqa: BLE001 - whatever it was, there is no answer
                self.is_away = True
                if not told:
                    _log.warning("dependency_away", reason=self.reason, error=error)
                told = True
            else:
                self.is_away = False
                self._answered_s = time.monotonic()
                if told:
                    _log.info("dependency_answers", reason=f"the {self.name} answers")
                told = False
            await asyncio.sleep(self._pause_s)
