"""The log: JSON lines on stdout, from an allow-list of fields.

A field that is not on the list is dropped and counted, so that nothing of a client's reaches a log by accident. Of an
exception only the type and the places are told, of a line from a library only its template, of a warning only its
category. `configure` puts everything of the process behind these rules: structlog, the standard library's logging,
warnings, and exceptions that nobody caught.
"""

import atexit
import contextlib
import logging
import re
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, MutableMapping
from types import TracebackType
from typing import Any, Final

import msgspec
import structlog

from ingest.telemetry.fields import FIELDS
from ingest.telemetry.line_writer import LineWriter
from ingest.telemetry.request_log import LEVELS, RequestLog
from ingest.telemetry.timestamp import Timestamps
from ingest.telemetry.traces import causes, frames, place, type_name

__all__ = ["FIELDS", "Log", "RequestLog", "configure", "logger"]

TEXT_CHARACTERS_MAX: Final = 1_000

_PLAIN_WORDS = re.compile(r"[A-Za-z ,.;()'/-]*")

logger = structlog.get_logger
"""Return the logger: `logger().warning("registry_file_refused", problem=problem)`. Events are constants."""


class Log:
    """The log of this process, from `configure` to `close`."""

    def __init__(self, writer: LineWriter, level: str, report: Callable[[BaseException], None] | None) -> None:
        self.requests = RequestLog(writer, level)
        self.fields_dropped = 0
        self._writer = writer
        self._level = LEVELS[level]
        self._report = report
        self._now = Timestamps().now
        self._encode = msgspec.json.Encoder(enc_hook=lambda value: type(value).__name__).encode
        self._undo: list[Callable[[], None]] = []

    @property
    def lines_dropped(self) -> int:
        """The lines that found no room because stdout was not read, or could not be written."""
        return self._writer.lines_dropped

    def line(self, level: str, event: str, fields: MutableMapping[str, Any]) -> None:
        """Write one line of `fields` on the allow-list. An exception may stand in `error` or, as usual, `exc_info`."""
        error = fields.pop("exc_info", None)
        if isinstance(fields.get("error"), BaseException):
            error = fields.pop("error")
        told: dict[str, Any] = {"time": self._now(), "level": level, "event": event[:TEXT_CHARACTERS_MAX]}
        for name, value in fields.items():
            if name not in FIELDS:
                self.fields_dropped += 1
            elif name not in told:
                told[name] = value[:TEXT_CHARACTERS_MAX] if isinstance(value, str) else value
        if error:
            self._describe(level, error, told)
        self._writer.write(self._encode(told) + b"\n")

    def close(self) -> None:
        """Write what waits and give everything back that `configure` took. A second call is a no-op."""
        while self._undo:
            self._undo.pop()()
        self._writer.close()

    def _describe(self, level: str, error: Any, told: dict[str, Any]) -> None:
        if error is True:
            error = sys.exc_info()
        if isinstance(error, tuple):
            error = error[1]
        if not isinstance(error, BaseException):
            return
        told["error"] = type_name(error)
        told["frames"] = frames(error.__traceback__)
        if led := causes(error):
            told["causes"] = led
        if self._report is not None and LEVELS[level] >= LEVELS["error"] and not _is_reporter(told):
            with contextlib.suppress(Exception):  # a report that fails costs nothing but itself
                self._report(error)

    def take_structlog(self) -> None:
        """Let every structlog logger end here."""

        def finish(_: Any, level: str, fields: MutableMapping[str, Any]) -> str:
            self.line(level, fields.pop("event"), fields)
            raise structlog.DropEvent

        structlog.configure(
            processors=[finish],
            wrapper_class=structlog.make_filtering_bound_logger(self._level),
            logger_factory=structlog.ReturnLoggerFactory(),
            cache_logger_on_first_use=False,
        )
        self._undo.append(structlog.reset_defaults)

    def take_stdlib(self) -> None:
        """Let every standard logger end here, those of libraries that brought their own handlers included."""
        root, handler = logging.getLogger(), _Redirect(self)
        before = (root.handlers[:], root.level, logging.raiseExceptions)
        loggers = [item for item in root.manager.loggerDict.values() if isinstance(item, logging.Logger)]
        for item in loggers:
            item.handlers.clear()
            item.propagate = True
        root.handlers[:] = [handler]
        root.setLevel(self._level)
        logging.raiseExceptions = False  # else a failing line would be printed with its arguments

        def undo() -> None:
            root.handlers[:], level, logging.raiseExceptions = before
            root.setLevel(level)

        self._undo.append(undo)

    def take_hooks(self) -> None:
        """Let warnings and exceptions that nobody caught end here, and the process's exit write what waits."""
        before = (sys.excepthook, threading.excepthook, sys.unraisablehook, warnings.showwarning)

        def crash(_: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
            if not isinstance(error, KeyboardInterrupt):
                self.line("critical", "crash", {"error": error.with_traceback(trace)})

        def warn(
            message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object, **__: object
        ) -> None:
            del message  # it may hold values
            self.line("warning", "python_warning", {"category": category.__name__, "at": place(filename, lineno)})

        sys.excepthook = crash
        threading.excepthook = lambda args: self.line("critical", "thread_crash", {"error": args.exc_value})
        sys.unraisablehook = lambda args: self.line("error", "unraisable", {"error": args.exc_value})
        warnings.showwarning = warn
        atexit.register(self.close)

        def undo() -> None:
            sys.excepthook, threading.excepthook, sys.unraisablehook, warnings.showwarning = before
            atexit.unregister(self.close)

        self._undo.append(undo)


class _Redirect(logging.Handler):
    """Writes a standard record without its arguments."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record's line."""
        level = record.levelname.lower()
        fields = {
            "logger": record.name,
            "at": place(record.pathname, record.lineno),
            "exc_info": record.exc_info,
        }
        self._log.line(level if level in LEVELS else "info", _template(record), fields)


def _is_reporter(told: Mapping[str, Any]) -> bool:
    """Tell whether a line comes from the reporter itself, which must not be made to report its own faults."""
    return str(told.get("logger", "")).startswith("sentry_sdk")


def _template(record: logging.LogRecord) -> str:
    """Return a record's message without what was put into it.

    With arguments the message is a template. Without, values may be formatted into it already, so it is cut at the
    first character that is not of plain words.
    """
    if not isinstance(record.msg, str):
        return type(record.msg).__name__
    if record.args:
        return record.msg
    words = _PLAIN_WORDS.match(record.msg)
    return words[0].strip() if words else ""


def configure(level: str = "info", *, fd: int = 1, report: Callable[[BaseException], None] | None = None) -> Log:
    """Set the process's log up: lines of `level` and above go to the file descriptor `fd`.

    `report` is given every exception that is logged as an error or worse. Call it once per process, before anything is
    logged; a process that is forked off later keeps the set-up.
    """
    log = Log(LineWriter(fd), level, report)
    log.take_structlog()
    log.take_stdlib()
    log.take_hooks()
    return log
