"""`ingest audit`: what was done to who may send, newest first."""

from datetime import UTC, datetime

import click

from ingest.cli.store import as_json, ask, show
from ingest.db.queries.audit import AuditFilter, list_audit_events

_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]


@click.command()
@click.option("--org", "organization_id", help="Of one organization; else of all, and what concerned everybody.")
@click.option("--action", help="For example key.rotated, organization.killed.")
@click.option("--actor", help="operator:<name>, key:<id> or system:<process>.")
@click.option("--target", "target_id", help="Id of what was changed.")
@click.option("--since", type=click.DateTime(_TIMES), help="In UTC, included.")
@click.option("--until", type=click.DateTime(_TIMES), help="In UTC, not included.")
@click.option("-n", "--last", default=50, show_default=True, type=click.IntRange(1, 100_000), help="How many at most.")
@as_json
def audit(
    *,
    organization_id: str | None,
    action: str | None,
    actor: str | None,
    target_id: str | None,
    since: datetime | None,
    until: datetime | None,
    last: int,
    as_json: bool,
) -> None:
    """Show the audit log: who changed what, when and why."""
    asked = AuditFilter(organization_id, action, actor, target_id, _utc(since), _utc(until))
    events = ask(lambda connection: list_audit_events(connection, asked, rows_max=last))
    show(events, ("at", "actor", "action", "target_id", "reason"), as_json=as_json)


def _utc(time: datetime | None) -> datetime | None:
    return None if time is None else time.replace(tzinfo=UTC)
