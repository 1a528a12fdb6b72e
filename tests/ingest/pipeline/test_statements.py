"""Statements about users: what is taken, what is refused and where, and what leaves."""

import json
from typing import Any

import msgspec
import pytest

from ingest.edge.intake import CONSENT, USER_PROPERTIES, Intake
from ingest.errors import Code, Refusal
from ingest.event import EventRecord, Processed
from ingest.pipeline.process import process
from normalize import email_digest
from tests.ingest.pipeline.batches import LIMITS, TIME, nested, request

PROPERTIES = {"timestamp": TIME, "app_user_id": "user-1", "properties": {"plan": "pro"}}
CHOICE = {"timestamp": TIME, "install_id": "inst-1", "advertising": False}


def sent(intake: Intake, body: bytes) -> Processed:
    """Send a body the way of a kind of statement."""
    return process(intake.decode(body, LIMITS), request(), LIMITS, intake.check)


def stated(intake: Intake, statement: Any) -> EventRecord:
    """Return the record of a statement that is taken."""
    (record,) = sent(intake, json.dumps(statement).encode()).records
    return msgspec.json.decode(record.value, type=EventRecord, strict=True)


@pytest.mark.parametrize("user", [{"app_user_id": "u"}, {"anonymous_id": 7}, {"install_id": "i", "app_user_id": None}])
def test_properties_of_a_user_by_any_id(user: dict[str, Any]) -> None:
    """One of three ids is enough, as text or integer."""
    statement = PROPERTIES | {"app_user_id": None} | user
    assert stated(USER_PROPERTIES, statement).event["properties"] == {"plan": "pro"}


def test_identity_rules_hold_for_statements() -> None:
    """E-mail and phone become digests, ids that are promised to stay stay."""
    properties = {"email": " A@B.c ", "phone": "+49 151 1234567", "ip": "10.0.0.1", "note": "x@y.z"}
    record = stated(USER_PROPERTIES, PROPERTIES | {"properties": properties, "app_user_id": "me@b.c"})

    assert record.event["app_user_id"] == "me@b.c"
    assert record.event["properties"]["email_sha256"] == email_digest("a@b.c")
    assert not {"email", "phone", "ip"} & set(record.event["properties"])
    assert "x@y.z" not in json.dumps(record.event)
    assert record.meta.app_id == "app_demo"


def test_a_repeat_has_the_same_id_and_key() -> None:
    """The id is derived, so that a resend is known; the key keeps what one installation says in order."""
    body = json.dumps(CHOICE | {"app_user_id": "u"}).encode()
    (one,), (other,) = sent(CONSENT, body).records, sent(CONSENT, body).records
    assert one == other
    assert one.key == b"app_demo:inst-1"


def test_a_lone_surrogate_is_replaced() -> None:
    """It does not cost the statement."""
    body = b'{"timestamp":"%b","app_user_id":"u","properties":{"a":"\\ud800"}}' % TIME.encode()
    (record,) = sent(USER_PROPERTIES, body).records
    made = msgspec.json.decode(record.value, type=EventRecord)
    assert (made.event["properties"], made.meta.notes) == ({"a": "\ufffd"}, ("surrogate_replaced",))


@pytest.mark.parametrize("body", [b"", b"{", b"nope", b'{"a":1', b"\xff"])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    """As a whole."""
    with pytest.raises(Refusal) as caught:
        sent(CONSENT, body)
    assert caught.value.code is Code.INVALID_JSON


BAD_ANYWHERE: list[tuple[Any, str, str | None]] = [
    ([], "NOT_AN_OBJECT", None),
    ({"timestamp": None}, "MISSING_FIELD", "timestamp"),
    ({"timestamp": 17}, "INVALID_TYPE", "timestamp"),
    ({"timestamp": "secret-17"}, "INVALID_TIMESTAMP", "timestamp"),
    ({"app_id": "secret-17"}, "APP_MISMATCH", "app_id"),
    ({"app_user_id": None, "install_id": ""}, "MISSING_FIELD", "app_user_id"),
    ({"app_user_id": ["secret-17"]}, "INVALID_TYPE", "app_user_id"),
    ({"app_user_id": "ü" * 513}, "INVALID_VALUE", "app_user_id"),
    ({"x": nested(80)}, "INVALID_VALUE", None),
]
BAD_PROPERTIES: list[tuple[Any, str, str | None]] = [
    ({"properties": None}, "MISSING_FIELD", "properties"),
    ({"properties": ["secret-17"]}, "INVALID_TYPE", "properties"),
    ({"properties": {"": 1}}, "INVALID_VALUE", "properties.*"),
    ({"properties": {"n" * 1025: 1}}, "INVALID_VALUE", "properties.*"),
    ({"set_once": 1}, "INVALID_TYPE", "set_once"),
    ({"set_once": ["secret-17"]}, "INVALID_TYPE", "set_once"),
]
BAD_CONSENT: list[tuple[Any, str, str | None]] = [
    ({"advertising": None}, "MISSING_FIELD", "advertising"),
    ({"advertising": "secret-17"}, "INVALID_TYPE", "advertising"),
    ({"analytics": 0}, "INVALID_TYPE", "analytics"),
    ({"thirdPartySharing": [True]}, "INVALID_TYPE", "thirdPartySharing"),
    ({"att_status": "secret-17"}, "INVALID_VALUE", "att_status"),
    ({"att_status": ["denied"]}, "INVALID_VALUE", "att_status"),
]


@pytest.mark.parametrize(
    ("intake", "good", "change", "code", "path"),
    [
        *((USER_PROPERTIES, PROPERTIES, *bad) for bad in (*BAD_ANYWHERE, *BAD_PROPERTIES)),
        *((CONSENT, CHOICE | {"app_user_id": "u"}, *bad) for bad in (*BAD_ANYWHERE, *BAD_CONSENT)),
    ],
)
def test_what_is_refused(intake: Intake, good: dict[str, Any], change: Any, code: str, path: str | None) -> None:
    """Each fault is told by its code and place, without a value."""
    statement = good | change if isinstance(change, dict) else change
    done = sent(intake, json.dumps(statement).encode())

    (rejection,) = done.rejected
    assert (rejection.code.value, done.records) == (code, [])
    assert path is None or rejection.path == path
    assert "secret-17" not in f"{rejection}"


def test_a_number_that_cannot_be_represented_is_refused() -> None:
    """As a fault of the statement, not of the JSON."""
    done = sent(USER_PROPERTIES, b'{"timestamp":"2026-11-24T10:00:00Z","app_user_id":"u","properties":{"a":1e400}}')
    assert [each.code.value for each in done.rejected] == ["INVALID_VALUE"]
