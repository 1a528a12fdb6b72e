"""`python -m bench`: run the benchmark, print its tables and keep them in `bench/out`."""

import shutil
import signal
import sys
from pathlib import Path

import click

from bench.connections import LoadError
from bench.report import Options, encode, tables
from bench.run import PARTS, run
from bench.servers import StartError
from bench.workload import BODIES
from devservices.errors import DevServiceError

QUICK_SECONDS, QUICK_ROUNDS, QUICK_SIZES = 0.4, 1, (1, 20)
OUT = Path(__file__).with_name("out")


@click.command()
@click.option("--only", "parts", multiple=True, type=click.Choice(PARTS), help="Run this part; may be repeated.")
@click.option("--seconds", default=4.0, show_default=True, type=click.FloatRange(0.1, 60), help="Length of a cell.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 100))
@click.option("--connections", default=32, show_default=True, type=click.IntRange(1, 500))
@click.option("--workers", type=click.IntRange(2, 64), help="Measure the service with so many workers too.")
@click.option("--quick", is_flag=True, help="One short round of the small sizes: does everything work?")
@click.option("--wrk", is_flag=True, help="Let wrk generate the closed loop instead of our own generator.")
@click.option("--out", default=OUT, show_default="bench/out", type=click.Path(path_type=Path, file_okay=False))
def main(
    *,
    parts: tuple[str, ...],
    seconds: float,
    rounds: int,
    connections: int,
    workers: int | None,
    quick: bool,
    wrk: bool,
    out: Path,
) -> None:
    """Measure the service and its floors side by side, and check that nothing acknowledged is missing.

    Nothing is left running, and all load stays on 127.0.0.1. Latency is taken at shares of the measured maximum, so
    that part brings the edge along. Exit code 1 where a figure may not be believed.
    """
    if wrk and shutil.which("wrk") is None:
        raise click.ClickException("--wrk needs the program wrk on the PATH")
    options = Options(
        parts=parts or PARTS,
        sizes=QUICK_SIZES if quick else tuple(BODIES),
        seconds=QUICK_SECONDS if quick else seconds,
        rounds=QUICK_ROUNDS if quick else rounds,
        connections=connections,
        workers=workers,
        generator="wrk" if wrk else "bench.load",
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        report = run(options, lambda line: click.echo(line, err=True))
    except (DevServiceError, StartError, LoadError) as error:
        raise click.ClickException(str(error)) from error
    text = tables(report)
    click.echo(text)
    out.mkdir(parents=True, exist_ok=True)
    stamp = report.began_at.replace(":", "").replace("+0000", "Z")
    (out / f"{stamp}.json").write_bytes(encode(report))
    (out / f"{stamp}.md").write_text(text, encoding="utf-8")
    click.echo(f"kept as {out / stamp}.json and .md", err=True)
    sys.exit(bool(report.faults()))


if __name__ == "__main__":
    main()
