"""The envelope of a partner's events: all its faults at once, and events under the names of SDKs."""

import json
from typing import Any

import pytest

from ingest.errors import Code, Refusal
from ingest.outcome import Fault
from ingest.partner.events import read_envelope

EVENT = {"name": "purchase", "occurredAt": "2026-11-24T10:00:00Z", "eventId": "e1", "appUserId": "u1", "properties": {}}


def refused(body: Any) -> tuple[Code, list[tuple[str, str]]]:
    """Read what must be refused, and return the code and what is told."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(Refusal) as caught:
        read_envelope(raw)
    errors = (caught.value.details or {}).get("errors", [])
    assert isinstance(errors, list)
    return caught.value.code, [(each.path, each.message) for each in errors]


def test_names_become_those_of_sdks() -> None:
    """A batch is read with its project and app, members in their order, unknown ones kept."""
    body = {"projectId": "prj_1", "sdkAppId": "app_1", "events": [{**EVENT, "more": 1}], "batch_id": "b"}
    project_id, app_id, batch = read_envelope(json.dumps(body).encode())

    assert (project_id, app_id, batch.batch_id, batch.extra) == ("prj_1", "app_1", "b", {})
    (event,) = batch.events
    assert list(event) == ["event", "timestamp", "event_id", "app_user_id", "properties", "more"]
    assert event["event"] == "purchase"


def test_all_faults_of_the_envelope_at_once() -> None:
    """Each member that is missing or wrong is told."""
    assert refused({"sdkAppId": 7}) == (
        Code.VALIDATION,
        [
            ("events", "must be a non-empty array"),
            ("projectId", "is required"),
            ("sdkAppId", "must be a non-empty text"),
        ],
    )
    assert refused({"projectId": "p", "sdkAppId": "a", "events": []})[1] == [("events", "must be a non-empty array")]
    assert refused({"projectId": "p", "sdkAppId": "a", "events": [EVENT] * 101})[1] == [
        ("events", "must hold at most 100 events")
    ]
    assert refused([])[1] == [("", "must be an object")]
    assert refused({})[1] == [
        ("events", "must be a non-empty array"),
        ("projectId", "is required"),
        ("sdkAppId", "is required"),
    ]


def test_members_that_are_there_are_not_missed() -> None:
    """Where a lone surrogate keeps the root from being read, only what is known to be wrong is told."""
    body = b'{"projectId": "p", "sdkAppId": "a", "more": "\\ud800", "events": "x"}'

    assert refused(body) == (Code.VALIDATION, [("events", "must be a non-empty array")])
    assert refused(b"null") == (Code.VALIDATION, [("", "must be an object")])


@pytest.mark.parametrize("body", [b"", b"{", b"nope", b'{"projectId": "a"'])
def test_what_is_not_json(body: bytes) -> None:
    """A body that is no JSON is refused as such."""
    assert refused(body) == (Code.INVALID_JSON, [])


@pytest.mark.parametrize("name", ["event", "timestamp", "event_id", "app_user_id"])
def test_names_of_sdks_are_not_mixed_in(name: str) -> None:
    """An event that uses an SDK's name for a member is at fault by itself, and the fault names the right one."""
    body = {"projectId": "p", "sdkAppId": "a", "events": [{**EVENT, name: "x"}, EVENT]}
    _, _, batch = read_envelope(json.dumps(body).encode())

    fault, good = batch.events
    assert isinstance(fault, Fault)
    assert fault.path == name
    assert isinstance(good, dict)


def test_a_lone_surrogate_costs_nobody() -> None:
    """The slow path of decoding serves partners too."""
    body = b'{"projectId":"p","sdkAppId":"a","events":[{"name":"a\\ud800","occurredAt":"2026-11-24T10:00:00Z"}]}'
    _, _, batch = read_envelope(body)

    assert batch.events[0]["event"] == "a\N{REPLACEMENT CHARACTER}"
    assert batch.repaired == {0}
