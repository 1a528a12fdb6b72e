"""What the persisting process counts, in the form in which it is shown."""

from collections.abc import Iterator

from ingest.persist.writer import Written
from ingest.telemetry.snapshot import Sample


def row_samples(written: Written) -> Iterator[Sample]:
    """Yield what became of events."""
    for result, rows in written._asdict().items():
        yield Sample("ingest_persist_rows_total", (result,), rows)
