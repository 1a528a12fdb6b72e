"""`python -m tests.faults`: rehearse all faults on three real brokers, print the table and keep it in `bench/out`."""

import asyncio
import logging
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
import msgspec

from tests.faults.rehearsal import Row, rehearse, staged, table
from tests.faults.scenes import SCENES
from tests.faults.stage import Pace

OUT: Final = Path(__file__).parents[2] / "bench" / "out"


@click.command()
@click.option("--only", "names", multiple=True, type=click.Choice(tuple(SCENES)), help="Play this scene; repeatable.")
@click.option("--out", default=OUT, show_default="bench/out", type=click.Path(path_type=Path, file_okay=False))
def main(*, names: tuple[str, ...], out: Path) -> None:
    """Play every fault under load, and check that nothing acknowledged is lost. Exit code 1 where something is."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the consumer's complaints about what is done to it
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        rows = asyncio.run(_play(Path(folder), names or tuple(SCENES)))
    click.echo(table(rows))
    out.mkdir(parents=True, exist_ok=True)
    report = {"began_at": datetime.now(UTC).isoformat(timespec="seconds"), "rows": rows}
    (out / "faults.json").write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    sys.exit(not all(row.is_good for row in rows))


async def _play(folder: Path, names: tuple[str, ...]) -> list[Row]:
    rows = []
    async with staged(folder, Pace()) as stage:
        for name in names:
            row = await rehearse(stage, name)
            click.echo(f"{name}: {row.acknowledged} acknowledged, {row.lost} lost, {row.duplicates} twice", err=True)
            rows.append(row)
    return rows


if __name__ == "__main__":
    main()
