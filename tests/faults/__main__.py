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

from tests.faults.consumer_stage import with_database
from tests.faults.forward_rehearsal import Forwarded, forward_table, rehearse_forwarding
from tests.faults.forward_scenes import FORWARD_SCENES
from tests.faults.rehearsal import Row, rehearse, staged, table
from tests.faults.row_rehearsal import Kept, rehearse_rows, row_table
from tests.faults.row_scenes import ROW_SCENES
from tests.faults.scenes import SCENES
from tests.faults.stage import Pace, Stage

OUT: Final = Path(__file__).parents[2] / "bench" / "out"


ALL: Final = (*SCENES, *ROW_SCENES, *FORWARD_SCENES)


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
        kept, forwarded = _play_consumers(stage, chosen)
    tables = [table(rows)] * bool(rows) + [row_table(kept)] * bool(kept) + [forward_table(forwarded)] * bool(forwarded)
    click.echo("\n\n".join(tables))
    out.mkdir(parents=True, exist_ok=True)
    began_at = datetime.now(UTC).isoformat(timespec="seconds")
    report = {"began_at": began_at, "rows": rows, "kept": kept, "forwarded": forwarded}
    (out / "faults.json").write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    good = [each.is_good for each in rows], [each.is_good for each in kept], [each.is_good for each in forwarded]
    sys.exit(not all(map(all, good)))


async def _play(stage: Stage, names: Sequence[str]) -> list[Row]:
    rows = []
    async with stage.watch:
        for name in names:
            row = await rehearse(stage, name)
            click.echo(f"{name}: {row.acknowledged} acknowledged, {row.lost} lost, {row.duplicates} twice", err=True)
            rows.append(row)
    return rows


def _play_consumers(stage: Stage, names: Sequence[str]) -> tuple[list[Kept], list[Forwarded]]:
    kept: list[Kept] = []
    forwarded: list[Forwarded] = []
    if not {*ROW_SCENES, *FORWARD_SCENES}.intersection(names):
        return kept, forwarded
    with with_database(stage) as database:
        for name in names:
            if name in ROW_SCENES:
                row = asyncio.run(rehearse_rows(database, name))
                click.echo(f"{name}: {row.acknowledged} acknowledged, {row.missing} missing", err=True)
                kept.append(row)
            elif name in FORWARD_SCENES:
                sent = asyncio.run(rehearse_forwarding(database, name))
                click.echo(f"{name}: {sent.acknowledged} acknowledged, {sent.missing} missing", err=True)
                forwarded.append(sent)
    return kept, forwarded


if __name__ == "__main__":
    main()
