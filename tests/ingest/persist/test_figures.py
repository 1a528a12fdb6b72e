"""What the persisting process shows of rows."""

from ingest.persist.figures import row_samples
from ingest.persist.writer import Written
from ingest.telemetry.snapshot import Sample


def test_every_row_has_its_result() -> None:
    """What was inserted, what was there and what was refused are told apart."""
    assert list(row_samples(Written(inserted=3, repeated=2, erased=1))) == [
        Sample("ingest_persist_rows_total", ("inserted",), 3),
        Sample("ingest_persist_rows_total", ("repeated",), 2),
        Sample("ingest_persist_rows_total", ("erased",), 1),
    ]
