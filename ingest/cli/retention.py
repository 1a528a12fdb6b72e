"""`ingest retention`: what is old enough goes for good."""

import sys

import click
import msgspec

from ingest.cli.environment import read_settings
from ingest.cli.store import as_json, login, with_database
from ingest.control.retention import DEADLINE_MS, Purged, purge


@click.group()
def retention() -> None:
    """Let go of what has been kept for its time."""


@retention.command()
@as_json
def run(*, as_json: bool) -> None:
    """Drop or delete what is old enough: events, request log, audit events, messages, deliveries, erasures.

    What is kept as long as events goes as well. `ingest persist` does the same every 6 hours. It may be stopped at any
    moment and run twice; while another run is under way it does nothing.
    """

    def progress(line: str) -> None:
        if sys.stderr.isatty():
            click.echo(line, err=True)

    events_days = read_settings("tool").events_retention_days
    actor = login()
    purged = with_database(lambda database: purge(database, events_days, actor, progress), deadline_ms=DEADLINE_MS)
    if as_json:
        click.echo(msgspec.json.encode({"under_way": purged is None} | (purged._asdict() if purged else {})))
    else:
        click.echo("a run is under way already" if purged is None else _sentence(purged))


def _sentence(purged: Purged) -> str:
    put_off = f"; {purged.put_off} days were in use and are left to the next run" if purged.put_off else ""
    return (
        f"dropped {purged.event_days} days of events and {purged.request_log_days} days of the request log, deleted"
        f" {purged.events} events, {purged.audit_events} audit events, {purged.messages} delivered messages,"
        f" {purged.deliveries} deliveries of conversions, {purged.skan_postbacks} SKAdNetwork postbacks,"
        f" {purged.clicks} clicks, {purged.erasures} erasures and {purged.erased_subjects} erased subjects{put_off}"
    )
