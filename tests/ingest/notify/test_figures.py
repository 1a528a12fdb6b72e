"""What the notifying process shows."""

from ingest.db.queries.outbox import Backlog
from ingest.notify.figures import NotifyFigures
from ingest.telemetry.exposition import expose
from ingest.telemetry.metric import Process
from ingest.telemetry.snapshot import Snapshot


def shown(figures: NotifyFigures, outbox: Backlog | None) -> list[str]:
    """Return the lines that Prometheus reads, of an outbox that was looked at two seconds ago."""
    text = expose(Snapshot(tuple(figures.samples(outbox, 2.0))), Process.NOTIFY).decode()
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_attempts_and_what_waits_are_shown() -> None:
    """Each attempt counts for its recipient, and what waits grows older between two looks."""
    figures = NotifyFigures()
    figures.count("support", delivered=True)
    figures.count("organization", delivered=False)
    figures.count("organization", delivered=False)

    assert shown(figures, Backlog(3, 40.0)) == [
        "ingest_outbox_oldest_age_seconds 42.0",
        "ingest_outbox_undelivered_messages 3.0",
        'ingest_notify_deliveries_total{recipient="support",result="delivered"} 1.0',
        'ingest_notify_deliveries_total{recipient="support",result="failed"} 0.0',
        'ingest_notify_deliveries_total{recipient="organization",result="delivered"} 0.0',
        'ingest_notify_deliveries_total{recipient="organization",result="failed"} 2.0',
    ]


def test_an_empty_outbox_has_no_age_and_an_unknown_one_no_value() -> None:
    """Nothing waits at 0; before the first look nothing is claimed."""
    assert shown(NotifyFigures(), Backlog(0, 0.0))[:2] == [
        "ingest_outbox_oldest_age_seconds 0.0",
        "ingest_outbox_undelivered_messages 0.0",
    ]
    assert not [line for line in shown(NotifyFigures(), None) if "outbox" in line]
