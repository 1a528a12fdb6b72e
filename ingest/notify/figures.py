"""What the notifying process counts, in the form in which it is shown."""

from itertools import product

from ingest.db.queries.outbox import Backlog
from ingest.telemetry.snapshot import Sample


class NotifyFigures:
    """Counts attempts to deliver, by recipient and result."""

    def __init__(self) -> None:
        self._deliveries = dict.fromkeys(product(("support", "organization"), ("delivered", "failed")), 0)

    def count(self, recipient: str, *, delivered: bool) -> None:
        """Count one attempt."""
        self._deliveries[recipient, "delivered" if delivered else "failed"] += 1

    def samples(self, outbox: Backlog | None, age_s: float) -> list[Sample]:
        """Return the figures of this moment. The outbox was looked at `age_s` ago; None where it never was."""
        told = [Sample("ingest_notify_deliveries_total", labels, count) for labels, count in self._deliveries.items()]
        if outbox is not None:
            oldest_s = outbox.oldest_s + age_s if outbox.undelivered else 0.0
            told.append(Sample("ingest_outbox_undelivered_messages", (), outbox.undelivered))
            told.append(Sample("ingest_outbox_oldest_age_seconds", (), oldest_s))
        return told
