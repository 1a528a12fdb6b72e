"""The line that every request leaves: one call, one encoding, no dictionary and no processor."""

from collections.abc import Sized
from typing import Final, Protocol

import msgspec

from ingest.errors import Code
from ingest.telemetry.line_writer import LineWriter
from ingest.telemetry.timestamp import Timestamps

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


class SendingApp(Protocol):
    """The registered app behind a request; its ids are safe to log."""

    @property
    def id(self) -> str:
        """The app's id."""

    @property
    def project_id(self) -> str:
        """Its project."""

    @property
    def organization_id(self) -> str:
        """Its organization."""


class HandledBatch(Protocol):
    """What became of a batch."""

    @property
    def duplicates(self) -> int:
        """Events that stand more than once in the batch."""

    @property
    def rejected(self) -> Sized:
        """The events that were not accepted."""


class Call(Protocol):
    """What a request leaves behind for its line: ids that are checked, codes and sizes, nothing that a client wrote."""

    @property
    def request_id(self) -> str:
        """An id of ours, or a checked one."""

    @property
    def app(self) -> SendingApp | None:
        """The sender, once it is known."""

    @property
    def status(self) -> int:
        """The status that was answered."""

    @property
    def code(self) -> Code | None:
        """Why it was refused."""

    @property
    def wire_bytes(self) -> int:
        """The body as sent."""

    @property
    def inflated_bytes(self) -> int:
        """The body after decompression."""

    @property
    def received(self) -> int:
        """Events in the body."""

    @property
    def done(self) -> HandledBatch | None:
        """The batch, once it is processed."""

    @property
    def stored(self) -> str | None:
        """The promise that was given."""


class RequestLine(msgspec.Struct, omit_defaults=True):
    """The line itself. Absent counts are 0; `bytes` are the body as sent, `inflated_bytes` after decompression."""

    time: str
    level: str
    event: str
    request_id: str
    route: str
    status: int
    latency_ms: float
    code: str | None = None
    app_id: str | None = None
    project_id: str | None = None
    organization_id: str | None = None
    bytes: int = 0
    inflated_bytes: int = 0
    received: int = 0
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    stored: str | None = None


class RequestLog:
    """Writes request lines from `level` up. A refusal's level is that of its code."""

    def __init__(self, writer: LineWriter, level: str = "info") -> None:
        self._writer = writer
        self._level_min = LEVELS[level]
        self._now = Timestamps().now
        self._encode = msgspec.json.Encoder().encode

    def write(self, call: Call, route: str, seconds: float, accepted: int) -> None:
        """Write the line of a batch of events. `route` is a path that the service has, never one that was asked for."""
        code = call.code
        level = "info" if code is None else code.value.log_level
        if LEVELS[level] < self._level_min:
            return
        app, done = call.app, call.done
        line = RequestLine(
            self._now(),
            level,
            "request",
            call.request_id,
            route,
            call.status,
            round(seconds * 1_000, 3),
            None if code is None else code.name,
            None if app is None else app.id,
            None if app is None else app.project_id,
            None if app is None else app.organization_id,
            call.wire_bytes,
            call.inflated_bytes,
            call.received,
            accepted,
            0 if done is None else done.duplicates,
            0 if done is None else len(done.rejected),
            call.stored,
        )
        self._writer.write(self._encode(line) + b"\n")

    def write_plain(self, request_id: str, route: str, status: int, seconds: float, code: str | None = None) -> None:
        """Write the line of any other request; `code` is that of an error."""
        level = "error" if status == 500 else "info"
        if LEVELS[level] >= self._level_min:
            line = RequestLine(
                self._now(), level, "request", request_id, route, status, round(seconds * 1_000, 3), code
            )
            self._writer.write(self._encode(line) + b"\n")
