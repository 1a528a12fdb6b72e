"""The forwarding process: what runs beside its lanes, and what ends it."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from ingest.consume.lanes import Lane, Lanes
from ingest.consume.loop import Loop
from ingest.forward.worker import ForwardWorker
from ingest.transport.contract import Delivered, Topic


class Idle:
    """A source without records, and a reporter that has nothing to report; notes how they end."""

    def __init__(self) -> None:
        self.polled = asyncio.Event()
        self.ends: list[str] = []

    async def start(self) -> None:
        """See `Source.start`."""

    async def poll(self, records_max: int, wait_ms: int) -> Sequence[Delivered]:  # noqa: ARG002 - its signature
        """See `Source.poll`."""
        self.polled.set()
        await asyncio.sleep(0)
        return ()

    async def commit(self) -> None:
        """See `Source.commit`."""

    async def lag_records(self) -> int | None:
        """See `Source.lag_records`."""
        return None

    async def close(self) -> None:
        """See `Source.close`, and `Reporter.close`."""
        self.ends.append("closed")

    async def do(self, records: Sequence[Delivered]) -> Sequence[Any]:
        """See `Step.do`."""
        raise AssertionError(records)

    async def run(self) -> None:
        """See `Reporter.run`."""
        await asyncio.Event().wait()

    async def report(self) -> None:
        """See `Reporter.report`."""
        self.ends.append("reported")


def worker(idle: Idle, *beside: Any) -> ForwardWorker:
    """Return a worker with one lane."""
    letters: Any = None  # nothing is set aside
    lane = Lane(Topic.FORWARD, idle, Loop(idle, idle, letters))
    return ForwardWorker(Lanes([lane]), idle, beside, Counter)  # type: ignore[arg-type]


def test_it_ends_when_it_is_told_to() -> None:
    """After its lanes it reports once more, and is no longer taken for one that forwards."""

    async def story() -> list[str]:
        idle = Idle()
        one = worker(idle)
        running = asyncio.create_task(one.run())
        await idle.polled.wait()
        one.stop()
        await running
        return idle.ends

    assert asyncio.run(story()) == ["closed", "reported", "closed"]


def test_it_does_not_live_on_without_a_part_of_it() -> None:
    """What fails beside the lanes ends them, and is told to whoever started it."""

    async def story() -> list[str]:
        idle = Idle()

        async def failing() -> None:
            await idle.polled.wait()
            raise PermissionError

        with pytest.raises(PermissionError):
            await worker(idle, failing).run()
        return idle.ends

    assert asyncio.run(story()) == ["closed", "reported", "closed"]


def test_it_can_be_cancelled() -> None:
    """Its lanes end with it."""

    async def story() -> list[str]:
        idle = Idle()
        running = asyncio.create_task(worker(idle).run())
        await idle.polled.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return idle.ends

    assert asyncio.run(story()) == ["closed", "reported", "closed"]
