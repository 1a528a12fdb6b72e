"""The log: what reaches it, what never does, and that no line is lost at a normal exit."""

import ast
import json
import logging
import os
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog

from ingest.errors import Code
from ingest.registry.model import App
from ingest.telemetry.fields import FIELDS
from ingest.telemetry.log import Log, configure, logger
from ingest.telemetry.request_log import RequestLine
from ingest.telemetry.timestamp import Timestamps
from ingest.telemetry.traces import causes, frames

ROOT = Path(__file__).parents[3]
SECRET = "ada@example.com"


@dataclass
class Written:
    """A configured log over a file, and what it wrote."""

    path: Path
    log: Log

    def lines(self) -> list[dict[str, Any]]:
        """Close the log and return its lines."""
        self.log.close()
        text = self.path.read_text()
        assert SECRET not in text
        return [json.loads(line) for line in text.splitlines()]


Start = Callable[..., Written]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Configure the log over a file."""
    path = tmp_path / "log"
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    begun: list[Log] = []

    def configured(level: str = "info", report: Callable[[BaseException], None] | None = None) -> Written:
        begun.append(configure(level, fd=file, report=report))
        return Written(path, begun[-1])

    yield configured
    for log in begun:
        log.close()
    os.close(file)


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    """Raise and return an exception, so that it has a traceback."""
    try:
        raise error from cause  # noqa: TRY301 - to be raised is all it is for
    except Exception as caught:  # noqa: BLE001 - the test's own
        return caught


def test_a_line(start: Start) -> None:
    """A line has its time, level and event, and the fields of the allow-list; others are dropped and counted."""
    written = start()
    logger().warning("app_killed", id="app_x", killed=True, email=SECRET, body={"a": SECRET})
    assert written.log.fields_dropped == 2
    (line,) = written.lines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {"level": "warning", "event": "app_killed", "id": "app_x", "killed": True}


def test_level_filter(start: Start) -> None:
    """Lines below the level are not written, whichever way they come."""
    written = start("warning")
    logger().info("quiet")
    logging.getLogger("library").info("quiet %s", "x")
    written.log.requests.write_plain("req_1", "/health", 200, 0.001)
    logger().error("loud")
    assert [line["event"] for line in written.lines()] == ["loud"]


def test_values_of_other_types_and_long_texts(start: Start) -> None:
    """A value that is no JSON is told by its type alone, and a text is bounded."""
    written = start()
    logger().info("odd", state=Path(SECRET), reason="x" * 5_000, time="never")
    (line,) = written.lines()
    assert line["state"] == "PosixPath"
    assert len(line["reason"]) == 1_000
    assert line["time"] != "never"


@pytest.mark.parametrize("how", ["exception", "exc_info", "error"])
def test_exceptions_are_told_by_type_and_place(start: Start, how: str) -> None:
    """Neither message nor local values nor those of causes are told, however the exception is given."""
    reported: list[BaseException] = []
    written = start(report=reported.append)
    error = raised(ValueError(SECRET), raised(KeyError(SECRET)))
    if how == "exception":
        try:
            raise error
        except ValueError:
            logger().exception("bug", request_id="req_1")
    else:
        logger().error("bug", request_id="req_1", **{how: error})
    assert reported == [error]
    (line,) = written.lines()
    assert (line["error"], line["causes"], line["request_id"]) == ("ValueError", ["KeyError"], "req_1")
    assert re.fullmatch(r"ingest/telemetry/test_log\.py:\d+ raised", line["frames"][-1])


def test_a_report_that_fails_costs_nothing(start: Start) -> None:
    """Only errors are reported, a failing reporter loses no line, and it is not asked about its own faults."""
    asked = []

    def report(error: BaseException) -> None:
        asked.append(error)
        raise RuntimeError

    written = start(report=report)
    error = raised(ValueError(SECRET))
    logger().warning("mild", error=error)
    logger().error("bad", error=error)
    logging.getLogger("sentry_sdk.test").error("failed", exc_info=error)
    assert asked == [error]
    assert [line["event"] for line in written.lines()] == ["mild", "bad", "failed"]


def test_frames_and_causes_are_bounded() -> None:
    """A deep stack keeps its innermost frames, groups are opened, and a circle of causes ends."""

    def deep(levels: int) -> None:
        if levels == 0:
            raise ExceptionGroup("", [KeyError(), raised(OSError(), TypeError())])
        deep(levels - 1)

    with pytest.raises(ExceptionGroup) as caught:
        deep(100)
    assert len(frames(caught.value.__traceback__)) == 30
    assert frames(caught.value.__traceback__)[-1].endswith(" deep")
    assert causes(caught.value) == ["KeyError", "OSError", "TypeError"]
    one, two = ValueError(), KeyError()
    one.__cause__, two.__cause__ = two, one
    assert causes(one) == ["KeyError"]


def test_standard_logging_is_told_by_template(start: Start) -> None:
    """Of a library's line the template is told without its arguments; text that was formatted already is cut."""
    written = start()
    library = logging.getLogger("library")
    library.warning("refused %s from %r", SECRET, {"a": SECRET})
    library.error(f"cannot read <{SECRET}>\nfuture: {SECRET}")
    library.error(ValueError(SECRET))
    library.critical("Task was destroyed but it is pending!\ntask: x", exc_info=raised(OSError(SECRET)))
    lines = written.lines()
    assert [(line["event"], line["level"]) for line in lines] == [
        ("refused %s from %r", "warning"),
        ("cannot read", "error"),
        ("ValueError", "error"),
        ("Task was destroyed but it is pending", "critical"),
    ]
    assert all(line["logger"] == "library" for line in lines)
    assert lines[0]["at"].startswith("ingest/telemetry/test_log.py:")
    assert lines[3]["error"] == "OSError"


def test_a_librarys_own_handlers_are_gone(start: Start) -> None:
    """A library that brought a handler and stopped propagation is redirected too."""
    library = logging.getLogger("uvicorn.test")
    library.addHandler(logging.NullHandler())
    library.propagate = False
    written = start()
    library.warning("late")
    assert library.handlers == []
    assert [line["event"] for line in written.lines()] == ["late"]


def test_warnings_and_uncaught_exceptions(start: Start) -> None:
    """Warnings, crashes of the process and of threads, and unraisable exceptions are told without their texts."""
    written = start()
    warnings.showwarning(DeprecationWarning(SECRET), DeprecationWarning, "/a/b/c/d.py", 7)
    error = raised(ValueError(SECRET))
    sys.excepthook(type(error), error, error.__traceback__)
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    sys.unraisablehook(type("Unraisable", (), {"exc_value": error})())
    thread = threading.Thread(target=lambda: int(SECRET))
    thread.start()
    thread.join()
    assert [(line["event"], line.get("error"), line.get("category"), line.get("at")) for line in written.lines()] == [
        ("python_warning", None, "DeprecationWarning", "b/c/d.py:7"),
        ("crash", "ValueError", None, None),
        ("unraisable", "ValueError", None, None),
        ("thread_crash", "ValueError", None, None),
    ]


def test_close_gives_everything_back(start: Start) -> None:
    """After the close the process's hooks, handlers and structlog are what they were."""

    def state() -> tuple[object, ...]:
        root = logging.getLogger()
        hooks = (sys.excepthook, threading.excepthook, sys.unraisablehook, warnings.showwarning)
        return (*hooks, root.handlers[:], root.level, logging.raiseExceptions, structlog.is_configured())

    before = state()
    written = start()
    assert state() != before
    written.log.close()
    written.log.close()
    assert state() == before


class FakeCall:
    """A request as the edge leaves it."""

    def __init__(self, code: Code | None = None) -> None:
        self.request_id = "req_01ARZ3NDEKTSV4RRFFQ69G5FAV"
        self.app = App(id="app_x", project_id="prj_x", organization_id="org_x")
        self.status = code.value.status if code else 202
        self.code = code
        self.wire_bytes, self.inflated_bytes, self.received = 812, 9_000, 3
        self.done = None if code else FakeBatch()
        self.stored = None if code else "replicated"


@dataclass
class FakeBatch:
    """A processed batch."""

    duplicates: int = 1
    rejected: list[str] = field(default_factory=lambda: ["x"])


def test_request_line(start: Start) -> None:
    """A request's line holds ids, sizes and counts; absent ones are left out."""
    written = start()
    written.log.requests.write(FakeCall(), "/events", 0.0012345, 1)
    written.log.requests.write(FakeCall(Code.UNAVAILABLE), "/events", 4.0, 0)
    written.log.requests.write_plain("req_2", "other", 404, 0.00005)
    written.log.requests.write_plain("req_3", "/health", 500, 0.1)
    stored, refused, plain, failed = written.lines()
    del stored["time"]
    assert stored == {
        "level": "info",
        "event": "request",
        "request_id": "req_01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "route": "/events",
        "status": 202,
        "latency_ms": 1.234,
        "app_id": "app_x",
        "project_id": "prj_x",
        "organization_id": "org_x",
        "bytes": 812,
        "inflated_bytes": 9000,
        "received": 3,
        "accepted": 1,
        "duplicates": 1,
        "rejected": 1,
        "stored": "replicated",
    }
    assert (refused["level"], refused["code"], refused["status"]) == ("warning", "UNAVAILABLE", 503)
    assert "accepted" not in refused
    assert set(plain) == {"time", "level", "event", "request_id", "route", "status", "latency_ms"}
    assert failed["level"] == "error"


def test_request_fields_are_on_the_allow_list() -> None:
    """The fast path writes no field that the slow one would drop."""
    assert set(RequestLine.__struct_fields__) <= set(FIELDS)


def test_timestamps() -> None:
    """Milliseconds are padded, and the second changes with them."""
    times = Timestamps()
    assert [times.of(ms) for ms in (0, 7, 999, 1_000, 1_767_225_600_123, 7)] == [
        "1970-01-01T00:00:00.000Z",
        "1970-01-01T00:00:00.007Z",
        "1970-01-01T00:00:00.999Z",
        "1970-01-01T00:00:01.000Z",
        "2026-01-01T00:00:00.123Z",
        "1970-01-01T00:00:00.007Z",
    ]


def test_a_normal_exit_and_a_fork_lose_nothing() -> None:
    """Lines that wait at the exit are written once, the child's too, and a crash is told without its text."""
    program = f"""
import os
from ingest.telemetry.log import configure, logger
configure("info")
logger().info("parent")
child = os.fork()
logger().info("child" if child == 0 else "waiting")
if child:
    os.waitpid(child, 0)
    int({SECRET!r})
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd=ROOT, capture_output=True, check=False, timeout=60
    )
    assert SECRET.encode() not in done.stdout + done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(line["event"] for line in lines) == ["child", "crash", "parent", "waiting"]
    assert done.returncode == 1


def calls_of_the_log() -> Iterator[tuple[str, ast.Call]]:
    """Find every call that writes a line, by the names under which loggers are known."""
    for path in sorted((ROOT / "ingest").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = ast.unparse(node.func.value)
                if owner in {"log", "_log", "logger()"} and node.func.attr in {
                    *("debug", "info", "warning", "error", "exception", "critical"),
                }:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def test_events_are_constants_and_fields_are_known() -> None:
    """No line of the service formats a value into its event, and every field it names is on the allow-list."""
    calls = list(calls_of_the_log())
    assert calls
    for place, call in calls:
        assert len(call.args) == 1, place
        assert isinstance(call.args[0], ast.Constant), place
        assert {word.arg for word in call.keywords} - set(FIELDS) - {"exc_info"} == set(), place
