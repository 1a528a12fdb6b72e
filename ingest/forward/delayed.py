"""A source that hands out records only some time after they were stored."""

import asyncio
from collections.abc import Sequence
from typing import Final

from ingest.clock import Clock
from ingest.transport.contract import Delivered, Source

TICK_MS: Final = 200


class DelayedSource:
    """A `Source` over another one, whose records are due `delay_ms` after they were stored.

    A batch is handed out whole, once the newest of it is due, so that a commit of the other source fits.
    """

    def __init__(self, source: Source, clock: Clock, *, delay_ms: int) -> None:
        self._source = source
        self._clock = clock
        self._delay_ms = delay_ms
        self._ahead: Sequence[Delivered] = ()

    async def start(self) -> None:
        """See `Source.start`."""
        await self._source.start()

    async def poll(self, records_max: int, wait_ms: int) -> Sequence[Delivered]:
        """See `Source.poll`."""
        until_ms = self._clock.monotonic_ms() + wait_ms
        if not self._ahead:
            self._ahead = await self._source.poll(records_max, wait_ms)
        while self._ahead:
            due_in_ms = max(each.timestamp_ms for each in self._ahead) + self._delay_ms - self._clock.now_ms()
            if due_in_ms <= 0:
                due, self._ahead = self._ahead, ()
                return due
            left_ms = until_ms - self._clock.monotonic_ms()
            if left_ms <= 0:
                break
            await asyncio.sleep(min(left_ms, due_in_ms, TICK_MS) / 1000)
        return ()

    async def commit(self) -> None:
        """See `Source.commit`: only asked for what was handed out, which is all that the other source gave."""
        assert not self._ahead
        await self._source.commit()

    async def lag_records(self) -> int | None:
        """See `Source.lag_records`: what is not due counts as well."""
        behind = await self._source.lag_records()
        return None if behind is None else behind + len(self._ahead)

    async def close(self) -> None:
        """See `Source.close`. What is not due is handed out again."""
        self._ahead = ()
        await self._source.close()
