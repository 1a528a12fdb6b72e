from typing import Any

import msgspec
import pytest

from ingest.erasure import Erased, subject_of

DIGEST = "ab" * 32
UNTIL = "2026-01-02T00:00:00.000Z"
BEFORE = "2026-01-01T23:59:59.999Z"
AFTER = "2026-01-02T00:00:00.001Z"


def record(event: dict[str, Any], *, project: str = "prj_a", received_at: str = BEFORE) -> bytes:
    """Return a record's value."""
    return msgspec.json.encode({"meta": {"project_id": project, "received_at": received_at}, "event": event})


@pytest.fixture
def erased() -> Erased:
    """Somebody known by an id, a number and a digest is erased from one project."""
    people = Erased()
    people.add("prj_a", [subject_of(each) for each in ("user-1", "7", DIGEST)], UNTIL)
    return people


@pytest.mark.parametrize(
    "event",
    [
        {"user_id": "user-1"},
        {"app_user_id": "user-1", "user_id": "other"},
        {"user_id": 7},
        {"properties": {"email_sha256": DIGEST}},
        {"properties": {"text": [f"write to sha256:{DIGEST}, please"]}},
    ],
)
def test_who_is_erased_is_found(erased: Erased, event: dict[str, Any]) -> None:
    """By either user id, as text or number, and by a digest wherever it stands."""
    assert erased.covers(record(event))
    assert erased.covers(record(event, received_at=UNTIL))


@pytest.mark.parametrize(
    "value",
    [
        record({"user_id": "user-2", "properties": {"user_id": "user-1"}}),
        record({"install_id": "user-1"}),
        record({"user_id": None, "app_user_id": ["user-1"]}),
        record({"text": DIGEST + "0"}),
        record({"user_id": "user-1"}, project="prj_b"),
        record({"user_id": "user-1"}, received_at=AFTER),
        b"{}",
        b"no record",
        b'{"meta":{"project_id":"prj_a","received_at":"2026"},"event":7}',
    ],
)
def test_everybody_else_is_left_alone(erased: Erased, value: bytes) -> None:
    """Others, other projects, what came later, and what is no record."""
    assert not erased.covers(value)


def test_a_second_erasure_only_reaches_further(erased: Erased) -> None:
    """The later time counts, in whichever order they are told."""
    later = record({"user_id": "user-1"}, received_at=AFTER)
    erased.add("prj_a", [subject_of("user-1")], "2026-01-03T00:00:00.000Z")
    assert erased.covers(later)
    erased.add("prj_a", [subject_of("user-1")], UNTIL)
    assert erased.covers(later)
    assert erased.latest == "2026-01-03T00:00:00.000Z"


def test_nobody_is_erased_at_first() -> None:
    """An empty list covers nothing."""
    assert not Erased().covers(record({"user_id": "user-1"}))
    assert Erased().latest == ""
