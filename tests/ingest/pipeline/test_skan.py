"""Postbacks at the edge: Apple's members go through as they are, nothing else does, and faults are told by place."""

import base64
import json
from typing import Any

import msgspec
import pytest

from ingest.edge.intake import SKAN
from ingest.errors import Code, Refusal
from ingest.event import EventRecord, Processed
from ingest.outcome import RejectionCode
from ingest.pipeline.process import process
from tests.ingest.pipeline.batches import LIMITS, TIME, request
from tests.support.skan import APPLE_SIGNED, TRANSACTION

POSTBACK = APPLE_SIGNED[0]


def sent(postback: Any, *own: str) -> Processed:
    """Send a postback the way of its kind."""
    body = postback if isinstance(postback, bytes) else json.dumps(postback).encode()
    return process(SKAN.decode(body, LIMITS), request(*own), LIMITS, SKAN.check, proven=SKAN.proven)


def taken(postback: Any, *own: str) -> EventRecord:
    """Return the record of a postback that is taken."""
    (record,) = sent(postback, *own).records
    return msgspec.json.decode(record.value, type=EventRecord, strict=True)


def signature(r: bytes, s: bytes = b"\x01" * 32) -> str:
    """Return what Apple's signature of two integers would be."""
    body = b"\x02" + bytes([len(r)]) + r + b"\x02" + bytes([len(s)]) + s
    return base64.b64encode(b"\x30" + bytes([len(body)]) + body).decode()


@pytest.mark.parametrize("postback", APPLE_SIGNED)
def test_what_apple_sends_goes_through(postback: dict[str, Any]) -> None:
    """Every member, numbers and texts, without a note; no time is needed."""
    record = taken(postback)

    assert {name: value for name, value in record.event.items() if name != "event_id"} == postback
    assert record.meta.notes == ()
    assert record.meta.event_id == f"{postback['transaction-id']}:0"


def test_the_signature_survives_whatever_it_looks_like() -> None:
    """A run of digits behind a plus sign is no telephone number in it, nor the client's address in it an address."""
    given = signature(b"\1\1" + base64.b64decode("/+4915112345678/AAAAAAAAAAAAAAAAAAAAAAAA"))
    assert "+4915112345678" in given
    record = taken({**POSTBACK, "attribution-signature": given}, "203.0.113.7")

    assert record.event["attribution-signature"] == given
    assert record.meta.notes == ()


def test_nothing_of_a_user_goes_along() -> None:
    """What stands beside Apple's members is dropped but for app and time, ids of users and devices above all."""
    more = {
        "app_id": "app_demo",
        "timestamp": TIME,
        "user_id": "u",
        "app_user_id": "u",
        "install_id": "i",
        "event_id": "mine",
        "idfa": "a" * 32,
        "email": "a@b.c",
        "properties": {"a": 1},
        "conversion-value": None,
    }
    record = taken(POSTBACK | more)

    assert set(record.event) == (set(POSTBACK) - {"conversion-value"}) | {"app_id", "timestamp", "event_id"}
    assert record.event["timestamp"] == TIME
    assert record.meta.event_id == record.event["event_id"] == f"{TRANSACTION}:0"


def test_a_repeat_is_known_by_apples_transaction() -> None:
    """In whatever spelling, and each of its three postbacks by itself."""
    (one,), (other,) = sent(POSTBACK).records, sent({**POSTBACK, "transaction-id": TRANSACTION.upper()}).records
    assert one.key == other.key == f"app_demo:{TRANSACTION}:0".encode()
    second = taken({**APPLE_SIGNED[3], "postback-sequence-index": 2})
    assert second.meta.event_id.endswith(":2")


@pytest.mark.parametrize(
    ("member", "values", "code"),
    [
        *[
            (name, [None], RejectionCode.MISSING_FIELD)
            for name in ("version", "ad-network-id", "app-id", "transaction-id", "attribution-signature")
        ],
        ("version", [4.0, 4, True], RejectionCode.INVALID_TYPE),
        ("version", ["1.0", "4", "4.1", "5.0", ""], RejectionCode.INVALID_VALUE),
        ("ad-network-id", [1], RejectionCode.INVALID_TYPE),
        ("ad-network-id", ["", "a b", "a@b.c", "x" * 101], RejectionCode.INVALID_VALUE),
        ("campaign-id", ["42", 42.0, True], RejectionCode.INVALID_TYPE),
        ("campaign-id", [0, 101], RejectionCode.INVALID_VALUE),
        ("source-identifier", [1.5, [1]], RejectionCode.INVALID_TYPE),
        ("source-identifier", ["", "12345", "1a", -1, "١٢"], RejectionCode.INVALID_VALUE),
        ("app-id", [1.0, True, {}], RejectionCode.INVALID_TYPE),
        ("app-id", [-1, 2**63, "", "1a", "1" * 19], RejectionCode.INVALID_VALUE),
        ("transaction-id", [1], RejectionCode.INVALID_TYPE),
        ("transaction-id", ["", "x", "0" * 8 + "-0000-0000-0000-" + "0" * 12], RejectionCode.INVALID_VALUE),
        ("redownload", [1, "true"], RejectionCode.INVALID_TYPE),
        ("source-domain", [1], RejectionCode.INVALID_TYPE),
        ("source-domain", ["", "localhost", "10.0.0.1", "a@b.example", "a b.c", "x." * 127 + "co"], "INVALID_VALUE"),
        ("fidelity-type", ["1", True], RejectionCode.INVALID_TYPE),
        ("fidelity-type", [2, -1], RejectionCode.INVALID_VALUE),
        ("did-win", [0], RejectionCode.INVALID_TYPE),
        ("conversion-value", [64, -1], RejectionCode.INVALID_VALUE),
        ("coarse-conversion-value", ["HIGH", ""], RejectionCode.INVALID_VALUE),
        ("postback-sequence-index", [3, -1], RejectionCode.INVALID_VALUE),
        ("country-code", ["USA", ""], RejectionCode.INVALID_VALUE),
        ("attribution-signature", [1], RejectionCode.INVALID_TYPE),
        (
            "attribution-signature",
            ["", "a", "a@b.c", "é", "YUBiLmM=", "MEUC", signature(b"\x01" * 90), signature(b"\x01") + "AA=="],
            RejectionCode.INVALID_VALUE,
        ),
        ("timestamp", [1], RejectionCode.INVALID_TYPE),
        ("timestamp", ["yesterday"], RejectionCode.INVALID_TIMESTAMP),
        ("app_id", ["app_other"], RejectionCode.APP_MISMATCH),
    ],
)
def test_a_member_that_apple_would_not_send_is_told(member: str, values: list[Any], code: RejectionCode) -> None:
    """By its name and never its value."""
    for value in values:
        (rejection,) = sent({**POSTBACK, member: value}).rejected
        assert (rejection.code, rejection.path) == (code, member), value
        assert not isinstance(value, str) or len(value) < 6 or value not in rejection.message


@pytest.mark.parametrize("value", [525463029, "525463029"])
def test_ids_of_the_store_may_be_numbers_or_text(value: object) -> None:
    """As the app that forwards has them."""
    assert taken({**POSTBACK, "app-id": value, "source-app-id": value}).event["app-id"] == value


def test_what_is_no_object_is_told() -> None:
    """Nor what is no JSON."""
    (rejection,) = sent([POSTBACK]).rejected
    assert rejection.code is RejectionCode.NOT_AN_OBJECT
    with pytest.raises(Refusal) as caught:
        sent(b"{")
    assert caught.value.code is Code.INVALID_JSON
