"""Crash reports: types and places leave the house, nothing else."""

import json
import sys
from typing import Any

import pytest
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from ingest.telemetry.sentry import SentryError, start, strip

DSN = "https://public@sentry.example/1"
SECRET = "ada@example.com"


class FakeTransport(Transport):
    """Keeps what would be sent."""

    sent: list[Envelope]

    def __init__(self, options: dict[str, Any] | None = None) -> None:
        super().__init__(options)
        FakeTransport.sent = []

    def capture_envelope(self, envelope: Envelope) -> None:
        """Keep an envelope."""
        FakeTransport.sent.append(envelope)


def fail(local: str) -> None:
    """Raise an exception with a cause and a note, all of them with a value inside."""
    try:
        int(local)
    except ValueError as cause:
        cause.add_note(local)
        raise LookupError(local) from cause


def test_a_report_holds_type_and_frames_only() -> None:
    """Of an exception and its cause the types and places are sent; no message, value, source line, host or user."""
    sentry = start(DSN, "1.2.3", transport=FakeTransport)
    with pytest.raises(LookupError) as raised:
        fail(SECRET)
    sentry.report(raised.value)
    sentry.close()
    (envelope,) = FakeTransport.sent
    assert SECRET.encode() not in envelope.serialize()
    event: Any = envelope.get_event()
    assert set(event) <= {"event_id", "timestamp", "level", "platform", "release", "sdk", "exception"}
    assert event["release"] == "1.2.3"
    values = event["exception"]["values"]
    assert [value["type"] for value in values] == ["ValueError", "LookupError"]
    for value in values:
        assert set(value) <= {"type", "module", "mechanism", "stacktrace"}
        frame = value["stacktrace"]["frames"][-1]
        assert frame["function"] == "fail"
        assert set(frame) <= {"filename", "module", "function", "lineno", "in_app"}


def test_strip_is_an_allow_list() -> None:
    """Whatever else an event may carry is not in what is sent."""
    full: Any = {
        "event_id": "e",
        "level": "error",
        "server_name": SECRET,
        "user": {"email": SECRET},
        "request": {"url": SECRET, "headers": {"x": SECRET}, "data": SECRET},
        "breadcrumbs": {"values": [{"message": SECRET}]},
        "extra": {"argv": [SECRET]},
        "contexts": {"trace": {"data": SECRET}},
        "logentry": {"message": SECRET, "params": [SECRET]},
        "modules": {},
        "exception": {
            "values": [
                {
                    "type": "ValueError",
                    "value": SECRET,
                    "mechanism": {"type": "generic", "handled": True, "data": {"x": SECRET}},
                    "stacktrace": {"frames": [{"function": "f", "vars": {"a": SECRET}, "context_line": SECRET}]},
                },
                {"type": "OSError", "stacktrace": None},
            ]
        },
    }
    stripped: Any = strip(full, {})
    assert SECRET not in json.dumps(stripped)
    assert stripped == {
        "event_id": "e",
        "level": "error",
        "exception": {
            "values": [
                {
                    "type": "ValueError",
                    "mechanism": {"type": "generic", "handled": True},
                    "stacktrace": {"frames": [{"function": "f"}]},
                },
                {"type": "OSError", "stacktrace": {"frames": []}},
            ]
        },
    }


def test_a_message_without_an_exception_is_not_sent() -> None:
    """There is no event without an exception, so there is no text to send."""
    assert strip({"message": SECRET}, {}) is None


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the operator is told which extra to install."""
    monkeypatch.setitem(sys.modules, "sentry_sdk", None)
    with pytest.raises(SentryError, match=r"ingest-edge\[sentry\]"):
        start(DSN, "1.2.3")


def test_a_bad_dsn_is_not_shown() -> None:
    """A DSN that is none is refused without any part of it."""
    with pytest.raises(SentryError, match="INGEST_SENTRY_DSN") as refused:
        start(f"nonsense://{SECRET}", "1.2.3")
    assert SECRET not in str(refused.value)
    assert refused.value.__suppress_context__
