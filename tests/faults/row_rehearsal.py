"""Plays the scenes of rows one after the other, and compares what was acknowledged with what is in PostgreSQL."""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from tests.faults.consumer_stage import DatabaseStage
from tests.faults.row_scenes import ROW_SCENES
from tests.faults.row_stage import RowScene, persisting
from tests.faults.tables import markdown


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
    peak_mib: int

    @property
    def is_good(self) -> bool:
        """Whether every acknowledged event is a row, once, and nothing else is."""
        return not self.missing and not self.doubled and not self.strange


async def rehearse_rows(stage: DatabaseStage, name: str) -> Kept:
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
    acknowledged, there = rows.expected(), frozenset(stored)
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
        peak_mib=round(rows.consumers.peak_mib),
    )


COLUMNS: Final = (
    "scene", "acknowledged", "rows", "missing", "doubled", "unpromised", "strange", "behind", "recovery, s",
    "peak, MiB",
)  # fmt: skip


def row_table(kept: Sequence[Kept]) -> str:
    """Return what was kept as a table in Markdown."""
    return markdown(COLUMNS, map(msgspec.structs.astuple, kept))
