from typing import Any

import pytest

from ingest.outcome import Fault, RejectionCode
from ingest.pipeline.validate import is_date_time, validate
from tests.ingest.pipeline.batches import event

Faulty = tuple[Any, str, str | None]


def faulty(name: str, code: str, values: list[Any]) -> list[Faulty]:
    """Return events of which one member has each of the values, and how they are refused."""
    return [(event(**{name: value}), code, name) for value in values]


NO_OBJECTS: list[Any] = [None, 1, 1.5, True, "event", [], [event()]]
FAULTS: list[Faulty] = [
    *((value, "NOT_AN_OBJECT", None) for value in NO_OBJECTS),
    ({"timestamp": "2026-11-24T10:00:00Z"}, "MISSING_FIELD", "event"),
    ({}, "MISSING_FIELD", "event"),
    (event(event=None), "MISSING_FIELD", "event"),
    *faulty("event", "INVALID_TYPE", [1, 1.5, True, [], {}, ["view"]]),
    (event(event=""), "INVALID_VALUE", "event"),
    (event(event="x" * 201), "INVALID_VALUE", "event"),
    ({"event": "view"}, "MISSING_FIELD", "timestamp"),
    (event(timestamp=None), "MISSING_FIELD", "timestamp"),
    *faulty("timestamp", "INVALID_TYPE", [1_764_000_000, 1.5, False, [], {}]),
    *faulty("timestamp", "INVALID_TIMESTAMP", ["", "now", "1764000000", "2026-11-24"]),
    *faulty("app_id", "APP_MISMATCH", ["app_other", "", "APP_DEMO", "app_demo ", 17]),
    *faulty("app_id", "INVALID_TYPE", [1.5, True, [], {}, ["app_demo"]]),
    *faulty("event_id", "INVALID_TYPE", [1.5, True, [], {}]),
    (event(event_id="x" * 201), "INVALID_VALUE", "event_id"),
    (event(event_id=10**200), "INVALID_VALUE", "event_id"),
]


@pytest.mark.parametrize(("sent", "code", "path"), FAULTS)
def test_each_fault_has_its_code_and_place(sent: Any, code: str, path: str | None) -> None:
    """What is no event is refused with one code, and a path where a member is at fault."""
    fault = validate(sent, "app_demo")

    assert isinstance(fault, Fault)
    assert (fault.code, fault.path) == (RejectionCode(code), path)


GOOD: list[dict[str, Any]] = [
    event(),
    event(event="x"),
    event(event="x" * 200),
    event(event=" "),
    event(event="😀" * 200),
    event(app_id="app_demo"),
    event(app_id=None),
    event(event_id=None),
    event(event_id=""),
    event(event_id="x" * 200),
    event(event_id=10**199),
    event(event_id=-1),
    event(event_id=0),
    event(properties=17, platform=[], user_id={"a": 1}, session_id=2.5, os_version=None),
]


@pytest.mark.parametrize("sent", GOOD)
def test_what_is_an_event_passes_unchanged(sent: dict[str, Any]) -> None:
    """Null counts as absent, ids may be integers, and no other member costs an event its place."""
    copy = dict(sent)
    assert validate(sent, "app_demo") == copy


def test_an_app_id_of_digits_may_be_an_integer() -> None:
    """An integer is fine where an id is expected."""
    assert validate(event(app_id=1234), "1234") == event(app_id=1234)
    assert isinstance(validate(event(app_id=1235), "1234"), Fault)


def test_a_fault_of_the_decoder_is_passed_on() -> None:
    """An event that could not be decoded keeps that verdict."""
    fault = Fault(RejectionCode.INVALID_VALUE, "The event cannot be decoded.")
    assert validate(fault, "app_demo") is fault


def test_no_fault_repeats_a_value() -> None:
    """Texts and paths name members, never what stood in them."""
    for sent, _, _ in FAULTS:
        fault = validate(sent, "app_demo")
        assert isinstance(fault, Fault)
        told = f"{fault.message} {fault.path}"
        assert not any(secret in told for secret in ("xxx", "app_other", "1764000000", "now", "17."))


@pytest.mark.parametrize(
    "text",
    [
        *("2026-11-24T10:00:00Z", "2026-11-24t10:00:00z", "2026-11-24 10:00:00Z", "2026-11-24T10:00:00"),
        *("2026-11-24T10:00Z", "2026-11-24T10:00", "2026-11-24 10:00", "2026-11-24T10:00+02:00"),
        *("2026-11-24T10:00:00.1Z", "2026-11-24T10:00:00.123456789012Z", "2026-11-24T10:00:00.000-11:30"),
        *("2026-11-24T23:59:60Z", "2026-12-31T23:59:60+00:00", "2024-02-29T00:00:00Z", "2000-02-29T00:00:00Z"),
        *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z", "2026-11-24T00:00:00-00:00", "2026-11-24T10:00:00+23:59"),
    ],
)
def test_date_times_as_sdks_write_them(text: str) -> None:
    """RFC 3339 with `T` or a space; seconds, fraction and offset are optional; a leap second is one."""
    assert is_date_time(text)


@pytest.mark.parametrize(
    "text",
    [
        *("2026-02-29T00:00:00Z", "2026-02-30T00:00:00Z", "2026-04-31T00:00:00Z", "2026-13-01T00:00:00Z"),
        *("2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z", "1900-02-29T00:00:00Z", "0000-01-01T00:00:00Z"),
        *("2026-11-24T24:00:00Z", "2026-11-24T10:60:00Z", "2026-11-24T10:00:61Z", "2026-11-24T10:00:00.Z"),
        *(
            "2026-11-24T10:00:00+0200",
            "2026-11-24T10:00:00+24:00",
            "2026-11-24T10:00:00+02:60",
            "2026-11-24T10:00:00+02",
        ),
        *("2026-11-24  10:00:00Z", "2026-11-24_10:00:00Z", " 2026-11-24T10:00:00Z", "2026-11-24T10:00:00Z\n"),
        *("26-11-24T10:00:00Z", "2026-1-1T10:00:00Z", "+002026-11-24T10:00:00Z", "2026-11-24T10Z", "20261124T100000Z"),
        *("٢٠٢٦-11-24T10:00:00Z", "2026-W48-2T10:00:00Z", "2026-328T10:00:00Z", "2026-11-24T10:00:00,5Z", "T10:00:00Z"),
    ],
)
def test_what_is_no_date_time(text: str) -> None:
    """Days that do not exist, other notations, other digits, and anything around it."""
    assert not is_date_time(text)
