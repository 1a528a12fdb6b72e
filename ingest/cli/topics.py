"""`ingest topics`: the topics on the brokers, made where they are missing and checked."""

import asyncio

import click
import msgspec

from ingest.cli.environment import read_settings
from ingest.cli.table import print_table
from ingest.transport.kafka.topics import TopicState, ensure_topics
from ingest.transport.kafka.topics import check as check_copies
from ingest.wiring.transport import kafka_connection, topic_plan


@click.command()
@click.option("--check", is_flag=True, help="Create nothing; missing topics are an error.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def topics(*, check: bool, as_json: bool) -> None:
    """Create the missing topics and show all of them; exit code 1 where one promises less than it must."""
    settings = read_settings("tool")
    if settings.kafka_bootstrap is None:
        raise click.ClickException("INGEST_KAFKA_BOOTSTRAP is not set: the embedded local log needs no topics")
    states = asyncio.run(ensure_topics(kafka_connection(settings), topic_plan(settings), create=not check))
    if as_json:
        click.echo(msgspec.json.encode([state._asdict() for state in states]))
    else:
        print_table(("topic", "partitions", "copies", "in sync at least", "state"), [_row(state) for state in states])
    check_copies(states)


def _row(state: TopicState) -> tuple[object, ...]:
    word = "; ".join([*state.lifetime_faults, *state.faults]) or ("created" if state.created else "ok")
    return state.name, state.partitions, state.replication, state.in_sync_min, word
