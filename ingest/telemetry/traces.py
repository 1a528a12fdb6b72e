"""What may be told of an exception: its type and where it happened. Its message and local values may hold anything."""

import traceback
from types import TracebackType

FRAMES_MAX = 30
CAUSES_MAX = 10
PATH_PARTS = 3


def type_name(error: BaseException) -> str:
    """Return the qualified name of the exception's type, without `builtins`."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def frames(trace: TracebackType | None) -> list[str]:
    """Return `file:line function` for the innermost `FRAMES_MAX` frames, outermost first."""
    walked = [(frame.f_code, line) for frame, line in traceback.walk_tb(trace)]
    return [f"{place(code.co_filename, line)} {code.co_name}" for code, line in walked[-FRAMES_MAX:]]


def place(file: str, line: int) -> str:
    """Write a place in the code, with the last parts of its path alone."""
    return "/".join(file.replace("\\", "/").split("/")[-PATH_PARTS:]) + f":{line}"


def causes(error: BaseException) -> list[str]:
    """Return the types of what led to the exception or is grouped in it, nearest first, at most `CAUSES_MAX`."""
    found: list[str] = []
    waiting = _next(error)
    seen = {id(error)}
    while waiting and len(found) < CAUSES_MAX:
        cause = waiting.pop(0)
        if id(cause) not in seen:
            seen.add(id(cause))
            found.append(type_name(cause))
            waiting += _next(cause)
    return found


def _next(error: BaseException) -> list[BaseException]:
    grouped = list(error.exceptions) if isinstance(error, BaseExceptionGroup) else []
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return grouped if cause is None else [*grouped, cause]
