"""Plays the scenes of forwarding, and compares what was acknowledged with what platforms took and the ledger says."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from tests.faults.consumer_stage import DatabaseStage, within
from tests.faults.forward_scenes import FORWARD_SCENES, SETTINGS
from tests.faults.forward_stage import End, ForwardScene, forwarding
from tests.faults.tables import markdown

PEAK_MIB_MAX: Final = 180
"""About 90 MiB at rest, 1 MiB that brokers send ahead for each of the partitions of two topics, and two batches of 2000
conversions, of 10 kB each in all of their forms. What waits on a topic would be more."""


class Forwarded(msgspec.Struct, frozen=True):
    """What one scene brought; a conversion counts once for each platform.

    `missing` ones were acknowledged and not taken, or have no row; `again` ones were sent after their row was there.
    `repeats` were taken more than once, of which the scene allows `allowed`. `unexpected` rows tell another fate than
    `sent`, or are of events that nobody acknowledged. `readable` records are left on Kafka.
    """

    scene: str
    acknowledged: int
    taken: int
    missing: int
    again: int
    repeats: int
    allowed: int
    unexpected: int
    violations: int
    readable: int
    behind: int
    recovery_s: float
    peak_mib: int
    note: str

    @property
    def is_good(self) -> bool:
        """Whether every acknowledged conversion was taken and recorded, once as far as that can be known."""
        wrong = (self.missing, self.again, self.unexpected, self.violations, self.readable)
        return not any(wrong) and self.repeats <= self.allowed and self.peak_mib <= PEAK_MIB_MAX


async def rehearse_forwarding(stage: DatabaseStage, name: str) -> Forwarded:
    """Play one scene. Raises `AssertionError` where edge or forwarders do not come back, or end badly."""
    pace = stage.stage.pace
    async with forwarding(stage, name, SETTINGS.get(name, {})) as one:
        async with one.scene.load:
            await one.grow(1)
            await asyncio.sleep(pace.before_s)
            await FORWARD_SCENES[name](one)
            await one.recover()
            await asyncio.sleep(pace.after_s)
        recovery_s = one.scene.recovered_s - one.scene.mended_s
        await one.scene.recover()
        await one.complete()

        async def all_forgotten() -> bool:
            return not await one.readable()

        await within(all_forgotten)
        await one.consumers.stop_all()
        return _forwarded(one, await one.ends(), await one.readable(), recovery_s)


def _forwarded(one: ForwardScene, ends: Sequence[End], readable: int, recovery_s: float) -> Forwarded:
    expected, takes = one.expected(), one.takes_ms()
    known = {end.name for end in ends}
    repeats = {name: times for name, times in takes.items() if len(times) > 1}
    return Forwarded(
        scene=one.scene.name,
        acknowledged=len(expected),
        taken=len(takes),
        missing=len(expected - (known & takes.keys())),
        again=_sent_again(repeats, ends),
        repeats=sum(len(times) - 1 for times in repeats.values()),
        allowed=one.repeats_allowed(),
        unexpected=sum(end.fate != "sent" for end in ends) + len((known | takes.keys()) - expected - one.unknown()),
        violations=len(one.platforms.ledger.violations()),
        readable=readable,
        behind=one.behind,
        recovery_s=recovery_s,
        peak_mib=round(one.consumers.peak_mib),
        note=", ".join(one.notes),
    )


def _sent_again(repeats: Mapping[str, Sequence[int]], ends: Sequence[End]) -> int:
    """Count what was taken once more after its row was there."""
    return sum(any(at_ms > end.recorded_ms for at_ms in repeats.get(end.name, ())[1:]) for end in ends)


COLUMNS: Final = (
    "scene", "acknowledged", "taken", "missing", "again", "repeats", "allowed", "unexpected", "violations", "readable",
    "behind", "recovery, s", "peak, MiB", "note",
)  # fmt: skip


def forward_table(forwarded: Sequence[Forwarded]) -> str:
    """Return what was forwarded as a table in Markdown."""
    return markdown(COLUMNS, map(msgspec.structs.astuple, forwarded))
