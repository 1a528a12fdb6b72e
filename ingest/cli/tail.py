"""`ingest tail`: the records of a topic, as consumers get them."""

import asyncio
import contextlib
import signal
from collections import deque
from typing import Final

import click

from ingest.cli.environment import read_settings
from ingest.transport.contract import Delivered, Source, Topic
from ingest.wiring.transport import open_source

_FIRST_WAIT_MS: Final = 5_000  # a consumer needs a moment to find its partitions
_WAIT_MS: Final = 500
_POLL_RECORDS_MAX: Final = 1_000


@click.command()
@click.argument("topic", type=click.Choice([topic.value for topic in Topic]))
@click.option("-n", "--last", default=20, show_default=True, type=click.IntRange(0), help="How many records at most.")
@click.option("-f", "--follow", is_flag=True, help="Keep printing new records until Ctrl-C.")
@click.option("--keys", is_flag=True, help="Print partition, offset and key in front of each value.")
def tail(topic: str, last: int, *, follow: bool, keys: bool) -> None:
    """Print the last records of TOPIC, one JSON document a line."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_tail(Topic(topic), last, follow=follow, keys=keys))


async def _tail(topic: Topic, last: int, *, follow: bool, keys: bool) -> None:
    source = open_source(read_settings("tool"), topic, group=None)
    await source.start()
    try:
        for record in await _last(source, last):
            _print(record, keys=keys)
        while follow:
            for record in await source.poll(_POLL_RECORDS_MAX, _WAIT_MS):
                _print(record, keys=keys)
    finally:
        await source.close()


async def _last(source: Source, count: int) -> deque[Delivered]:
    """Read to the present end and keep the last `count` records."""
    kept: deque[Delivered] = deque(maxlen=count)
    found = await source.poll(_POLL_RECORDS_MAX, _FIRST_WAIT_MS)
    while found:
        kept.extend(found)
        found = await source.poll(_POLL_RECORDS_MAX, _WAIT_MS)
    return kept


def _print(record: Delivered, *, keys: bool) -> None:
    value = record.value.decode(errors="replace")
    place = f"{record.partition}:{record.offset} {record.key.decode(errors='replace')} " if keys else ""
    click.echo(place + value)
