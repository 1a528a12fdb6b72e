"""`ingest retention`: what is old enough goes for good."""

import sys
from datetime import UTC, datetime

import click
import msgspec

from ingest.cli.store import as_json, with_database
from ingest.control.retention import purge


@click.group()
def retention() -> None:
    """Let go of what has been kept for its time."""


@retention.command()
@as_json
def run(*, as_json: bool) -> None:
    """Drop days of the request log after 30 days, audit events after 2 years, delivered messages after 30 days.

    Run it once a day. It may be stopped at any moment and run twice.
    """

    def progress(line: str) -> None:
        if sys.stderr.isatty():
            click.echo(line, err=True)

    purged = with_database(lambda database: purge(database, datetime.now(UTC), progress))
    if as_json:
        click.echo(msgspec.json.encode(purged._asdict()))
        return
    click.echo(
        f"dropped {purged.request_log_days} days of the request log, deleted {purged.audit_events} audit events"
        f" and {purged.messages} delivered messages"
    )
