"""Plays the scenes of rows one after the other, and compares what was acknowledged with what is in PostgreSQL."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec

from devservices.postgres import PostgresServer
from tests.faults.row_scenes import ROW_SCENES
from tests.faults.row_stage import RowScene, RowStage, persisting
from tests.faults.stage import Stage


class Kept(msgspec.Struct, frozen=True):
    """What one scene brought: `missing` events were acknowledged and are no rows, `doubled` rows repeat another.

    `strange` rows are of events that nobody sent, or that were refused; `unpromised` ones of events without an answer.
    """

    scene: str
    acknowledged: int
    rows: int
    missing: int
    doubled: int
    unpromised: int
    strange: int
    behind: int
    recovery_s: float
    peak_mib: float

    @property
    def is_good(self) -> bool:
        """Whether every acknowledged event is a row, once, and nothing else is."""
        return not self.missing and not self.doubled and not self.strange


@contextmanager
def row_staged(stage: Stage) -> Iterator[RowStage]:
    """Run the database beside what all scenes share."""
    with PostgresServer(stage.folder / "postgres") as postgres:
        yield RowStage(stage, postgres)


async def rehearse_rows(stage: RowStage, name: str) -> Kept:
    """Play one scene. Raises `AssertionError` where edge or consumers do not come back, or end badly."""
    pace = stage.stage.pace
    async with persisting(stage, name) as rows:
        async with rows.scene.load:
            await rows.grow(1)
            await asyncio.sleep(pace.before_s)
            await ROW_SCENES[name](rows)
            await rows.recover()
            await asyncio.sleep(pace.after_s)
        recovery_s = rows.scene.recovered_s - rows.scene.mended_s
        await rows.scene.recover()
        await rows.complete()
        await rows.consumers.stop_all()
        return _kept(rows, await rows.stored(), recovery_s)


def _kept(rows: RowScene, stored: Sequence[str], recovery_s: float) -> Kept:
    load = rows.scene.load
    acknowledged, there = frozenset(load.acknowledged()), frozenset(stored)
    open_ = frozenset(load.unanswered())
    return Kept(
        scene=rows.scene.name,
        acknowledged=len(acknowledged),
        rows=len(stored),
        missing=len(acknowledged - there),
        doubled=len(stored) - len(there),
        unpromised=len(there & open_),
        strange=len(there - acknowledged - open_),
        behind=rows.behind,
        recovery_s=recovery_s,
        peak_mib=rows.consumers.peak_mib,
    )


COLUMNS: Final = (
    "scene", "acknowledged", "rows", "missing", "doubled", "unpromised", "strange", "behind", "recovery, s",
    "peak, MiB",
)  # fmt: skip


def row_table(kept: Sequence[Kept]) -> str:
    """Return what was kept as a table in Markdown."""
    lines = [f"| {' | '.join(COLUMNS)} |", "| --- " * len(COLUMNS) + "|"]
    for each in kept:
        *cells, recovery_s, peak_mib = msgspec.structs.astuple(each)
        lines.append(f"| {' | '.join(map(str, cells))} | {recovery_s:.1f} | {peak_mib:.0f} |")
    return "\n".join(lines)
