"""What is told of a database by what was found there; a real one is asked in `tests/integration/test_check.py`."""

from typing import Final

import pytest

from ingest.checks import database as checks
from ingest.checks.database import SKEW_MS_MAX, SKEW_MS_WARNED, database
from ingest.checks.finding import Level
from ingest.db.inspect import Inspection

GOOD: Final = Inspection(0, 2, has_group=True, missing=(), is_owner=False)


def levels(monkeypatch: pytest.MonkeyPatch, found: Inspection) -> dict[str, Level]:
    """Return how grave what is told is, by the subject."""
    monkeypatch.setattr(checks, "inspect", lambda *_: found)
    monkeypatch.setattr(checks, "pending", lambda _: False)
    return {each.subject: each.level for each in database("postgresql://nobody@127.0.0.1/x", "ingest_persist")}


@pytest.mark.parametrize(
    ("skew_ms", "level"),
    [
        (SKEW_MS_WARNED, Level.OK),
        (SKEW_MS_WARNED + 10, Level.WARNING),
        (-SKEW_MS_MAX, Level.WARNING),
        (-SKEW_MS_MAX - 10, Level.FAULT),
    ],
)
def test_clocks_that_disagree(monkeypatch: pytest.MonkeyPatch, skew_ms: int, level: Level) -> None:
    """A second is a warning, a minute a fault, in both directions."""
    assert levels(monkeypatch, GOOD._replace(skew_ms=skew_ms))["clock"] is level


def test_rights_that_are_missing_or_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the process does has to be allowed, and the schema's owner may do more than that."""
    assert levels(monkeypatch, GOOD) == {"schema": Level.OK, "rights": Level.OK, "clock": Level.OK}
    assert levels(monkeypatch, GOOD._replace(missing=("INSERT on events",)))["rights"] is Level.FAULT
    assert levels(monkeypatch, GOOD._replace(has_group=False))["rights"] is Level.FAULT
    assert levels(monkeypatch, GOOD._replace(is_owner=True))["rights"] is Level.WARNING
