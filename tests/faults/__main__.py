"""`python -m tests.faults`: rehearse all faults on real services, print the tables and keep them in `bench/out`."""

import asyncio
import logging
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
import msgspec

from tests.faults.rehearsal import Row, rehearse, staged, table
from tests.faults.row_rehearsal import Kept, rehearse_rows, row_staged, row_table
from tests.faults.row_scenes import ROW_SCENES
from tests.faults.scenes import SCENES
from tests.faults.stage import Pace, Stage

OUT: Final = Path(__file__).parents[2] / "bench" / "out"


ALL: Final = (*SCENES, *ROW_SCENES)


@click.command()
@click.option("--only", "names", multiple=True, type=click.Choice(ALL), help="Play this scene; repeatable.")
@click.option("--out", default=OUT, show_default="bench/out", type=click.Path(path_type=Path, file_okay=False))
def main(*, names: tuple[str, ...], out: Path) -> None:
    """Play every fault under load, and check that nothing acknowledged is lost. Exit code 1 where something is."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the consumer's complaints about what is done to it
    chosen = names or ALL
    with tempfile.TemporaryDirectory(prefix="faults-") as folder, staged(Path(folder), Pace()) as stage:
        rows = asyncio.run(_play(stage, [name for name in chosen if name in SCENES]))
        kept = _play_rows(stage, [name for name in chosen if name in ROW_SCENES])
    click.echo("\n\n".join([table(rows)] * bool(rows) + [row_table(kept)] * bool(kept)))
    out.mkdir(parents=True, exist_ok=True)
    report = {"began_at": datetime.now(UTC).isoformat(timespec="seconds"), "rows": rows, "kept": kept}
    (out / "faults.json").write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    sys.exit(not (all(row.is_good for row in rows) and all(each.is_good for each in kept)))


async def _play(stage: Stage, names: Sequence[str]) -> list[Row]:
    rows = []
    async with stage.watch:
        for name in names:
            row = await rehearse(stage, name)
            click.echo(f"{name}: {row.acknowledged} acknowledged, {row.lost} lost, {row.duplicates} twice", err=True)
            rows.append(row)
    return rows


def _play_rows(stage: Stage, names: Sequence[str]) -> list[Kept]:
    kept: list[Kept] = []
    if not names:
        return kept
    with row_staged(stage) as rows:
        for name in names:
            kept.append(asyncio.run(rehearse_rows(rows, name)))
            told = kept[-1]
            click.echo(
                f"{name}: {told.acknowledged} acknowledged, {told.missing} missing, {told.doubled} doubled", err=True
            )
    return kept


if __name__ == "__main__":
    main()
