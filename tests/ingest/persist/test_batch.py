"""A batch on its way to rows: what is made when, what is poison, and how it is taken apart."""

from collections.abc import Callable

import pytest

from ingest.persist import batch
from ingest.persist.batch import PART_RECORDS, Batch
from ingest.persist.row import Row, to_row
from ingest.transport.contract import Delivered
from tests.ingest.pipeline.batches import body, event
from tests.support.rows import delivered


def records(count: int) -> list[Delivered]:
    """Return so many records."""
    return [record for at in range(count) for record in delivered(body(event(event_id=f"e{at}")), first=at)]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Provide the offsets of records in the order in which they are made into rows."""
    offsets: list[int] = []

    def noting(make: Callable[[Delivered], Row]) -> Callable[[Delivered], Row]:
        def note(record: Delivered) -> Row:
            offsets.append(record.offset)
            return make(record)

        return note

    monkeypatch.setattr(batch, "to_row", noting(to_row))
    return offsets


def test_rows_are_made_when_they_are_asked_for(made: list[int]) -> None:
    """Part by part, so that something else can be at work on those before."""
    one = Batch(records(PART_RECORDS + 10))
    parts = one.parts()
    assert made == []
    assert len(next(parts)) == len(made) == PART_RECORDS
    assert len(next(parts)) == 10
    assert next(parts, None) is None
    assert made == list(range(PART_RECORDS + 10))


def test_each_row_is_made_once(made: list[int]) -> None:
    """A pass that was broken off is followed by one over all rows, in the order of their records."""
    one = Batch(records(3 * PART_RECORDS))
    next(one.parts())
    again = [record.offset for part in one.parts() for record, _ in part]
    one.make_all()
    assert again == made == [record.offset for record, _ in one.rows] == list(range(3 * PART_RECORDS))


def test_what_can_be_no_row_is_poison() -> None:
    """It stands aside, with its reason, and in no part."""
    given = records(3)
    given[1] = given[1]._replace(value=b"no JSON")
    one = Batch(given)
    one.make_all()
    assert [each.reason for each in one.poison] == ["record_malformed"]
    assert [record.offset for part in one.parts() for record, _ in part] == [0, 2]
    assert one.days == {"2026-11-24"}


def test_halves_are_a_batch_each(made: list[int]) -> None:
    """Together they hold all records and all rows, which are not made again, and no poison twice."""
    given = records(5)
    given[0] = given[0]._replace(value=b"no JSON")
    one = Batch(given)
    one.make_all()
    first, second = one.halves()
    assert [*first.records, *second.records] == given
    assert [*first.rows, *second.rows] == one.rows
    assert [record for part in first.parts() for record, _ in part] == given[1:3]
    assert (first.poison, second.poison, first.days, len(made)) == ([], [], one.days, 5)


def test_without_rows_the_records_are_left() -> None:
    """It moves a position, and nothing else."""
    one = Batch(records(2)).without_rows()
    assert (len(one.records), list(one.parts()), one.days) == (2, [], set())
