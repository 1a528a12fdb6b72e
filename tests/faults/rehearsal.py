"""Plays the scenes one after the other, and tells of each what was promised, what was kept, and how long it took."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from tests.faults.load import NO_ANSWER, percentiles_ms, statuses
from tests.faults.scenes import SCENES, TOPIC, small_disk
from tests.faults.stage import ARRIVE_S, Fault, Figures, Pace, Scene, Stage, brokers, playing
from tests.faults.tables import markdown
from tests.faults.watch import Watch

RESTARTS: Final = ("edge stopped", "edge killed")
"""Scenes in which the edge's own counters begin anew, so that only those of the spool can be checked."""


class Row(msgspec.Struct, frozen=True):
    """What one scene brought: events acknowledged, lost and met twice, answers without promise by status, times."""

    scene: str
    acknowledged: int
    spooled: int
    lost: int
    duplicates: int
    errors: dict[str, int]
    p50_ms_during: float
    p99_ms_during: float
    p50_ms_after: float
    p99_ms_after: float
    peak_mib: float
    recovery_s: float
    drained_per_s: float
    conserved: bool
    note: str = ""

    @property
    def is_good(self) -> bool:
        """Whether the promise held."""
        return self.lost == 0 and self.conserved


@contextmanager
def staged(folder: Path, pace: Pace) -> Iterator[Stage]:
    """Run what all scenes share; its `watch` is still to be entered."""
    with brokers(folder / "kafka") as (cluster, proxies):
        yield Stage(folder, cluster, proxies, Watch(cluster.bootstrap, TOPIC), pace)


async def rehearse(stage: Stage, name: str) -> Row:
    """Play one scene. Raises `AssertionError` where the edge does not come back, or ends badly."""
    fault = SCENES[name]
    async with AsyncExitStack() as stack:
        data_dir = None
        if name == "disk full":
            data_dir = stack.enter_context(small_disk(stage.folder / "small-disk")) / "data"
        scene = await stack.enter_async_context(playing(stage, name, data_dir=data_dir))
        await _play(scene, fault)
        await _arrive(scene)
        return _row(scene, await scene.figures())


async def _play(scene: Scene, fault: Fault) -> None:
    pace = scene.stage.pace
    async with scene.load:
        await asyncio.sleep(pace.before_s)
        await fault(scene)
        await scene.recover()
        await asyncio.sleep(pace.after_s)
    await scene.until(lambda told: not told["ingest_in_flight_requests"], "all is answered")
    recovered_s = scene.recovered_s
    await scene.recover()
    scene.recovered_s = recovered_s
    scene.note_memory()


async def _arrive(scene: Scene) -> None:
    """Wait until the consumer has met all that was acknowledged, or nothing more comes."""
    deadline = time.monotonic() + ARRIVE_S
    while len(_missing(scene)) > scene.excused and time.monotonic() < deadline:  # noqa: ASYNC110 - Kafka tells nobody
        await asyncio.sleep(0.2)


def _missing(scene: Scene) -> list[str]:
    seen = scene.stage.watch.seen
    return [event_id for event_id in scene.load.acknowledged() if event_id not in seen]


def _row(scene: Scene, told: Figures) -> Row:
    ledger, seen = scene.load.ledger, scene.stage.watch.seen
    acknowledged = list(scene.load.acknowledged())
    during = [sent for sent in ledger if scene.broken_s <= sent.due_s < scene.mended_s]
    after = [sent for sent in ledger if sent.due_s >= scene.recovered_s]
    recovery_s = max(0.0, scene.recovered_s - scene.mended_s)
    errors = {("none" if status == NO_ANSWER else str(status)): n for status, n in sorted(statuses(ledger).items())}
    spooled = sum(sent.events for sent in ledger if sent.stored == "spooled")
    return Row(
        scene=scene.name,
        acknowledged=len(acknowledged),
        spooled=spooled,
        lost=len(_missing(scene)) - scene.excused,
        duplicates=sum(seen[event_id] - 1 for event_id in acknowledged if event_id in seen),
        errors=errors,
        p50_ms_during=percentiles_ms(during)[0],
        p99_ms_during=percentiles_ms(during)[1],
        p50_ms_after=percentiles_ms(after)[0],
        p99_ms_after=percentiles_ms(after)[1],
        peak_mib=scene.peak_mib,
        recovery_s=recovery_s,
        drained_per_s=scene.waiting_max / recovery_s if recovery_s > 0 else 0.0,
        conserved=_conserved(scene, told, len(acknowledged), spooled),
        note=", ".join(scene.notes),
    )


def _conserved(scene: Scene, told: Figures, acknowledged: int, spooled: int) -> bool:
    """Check the laws of conservation, the edge's counters against each other and against the client's ledger."""
    spool = {
        state: told[f'ingest_spool_records{{state="{state}"}}']
        for state in ("stored", "drained", "waiting", "set_aside", "erased")
    }
    laws = [
        spool["stored"] == spool["drained"] + spool["waiting"] + spool["set_aside"] + spool["erased"],
        spool["stored"] >= spooled,
    ]
    if not scene.name.startswith(RESTARTS) and scene.name != "byte flipped":
        events = {
            name: told[f'ingest_events_total{{outcome="{name}"}}'] for name in ("accepted", "duplicate", "rejected")
        }
        kept = {name: told[f'ingest_events_stored_total{{stored="{name}"}}'] for name in ("replicated", "spooled")}
        laws += [
            told["ingest_events_received_total"] == sum(events.values()),
            events["accepted"] == sum(kept.values()),
            events["accepted"] >= acknowledged,
            kept["spooled"] >= spooled,
        ]
    return all(laws)


COLUMNS: Final = (
    "scene", "acknowledged", "lost", "duplicates", "errors", "p50 / p99 during, ms", "p50 / p99 after, ms", "peak, MiB",
    "recovery, s", "drained/s", "conserved", "note",
)  # fmt: skip


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a table in Markdown."""
    return markdown(COLUMNS, map(_cells, rows))


def _cells(row: Row) -> Sequence[object]:
    errors = ", ".join(f"{status}: {count}" for status, count in row.errors.items()) or "-"
    return (
        row.scene,
        f"{row.acknowledged} ({row.spooled} spooled)",
        row.lost,
        row.duplicates,
        errors,
        f"{row.p50_ms_during:.0f} / {row.p99_ms_during:.0f}",
        f"{row.p50_ms_after:.0f} / {row.p99_ms_after:.0f}",
        round(row.peak_mib),
        row.recovery_s,
        round(row.drained_per_s),
        "yes" if row.conserved else "NO",
        row.note,
    )
