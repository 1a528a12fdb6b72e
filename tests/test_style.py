"""House rules that no linter knows, held over the source itself."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path
    for room in ("ingest", "normalize", "devservices", "bench", "tools", "examples")
    for path in (ROOT / room).rglob("*.py")
)
TEXTS = [
    *SOURCES,
    *sorted((ROOT / "tests").rglob("*.py")),
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
LEFTOVERS = re.compile(r"\b(?:TO" + "DO|FIX" + "ME|X" + "XX|HA" + r"CK)\b")
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:work|root|home|farm)/")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_a_file_can_be_read_in_one_sitting(path: Path) -> None:
    """No source file is longer than FILE_LINES_MAX lines, no function longer than FUNCTION_LINES_MAX."""
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in _functions(path)
        if node.end_lineno is not None and node.end_lineno - node.lineno >= FUNCTION_LINES_MAX
    ]

    assert [] == long
    assert len(path.read_text(encoding="utf-8").splitlines()) <= FILE_LINES_MAX


@pytest.mark.parametrize("path", TEXTS, ids=_name)
def test_nothing_is_left_over(path: Path) -> None:
    """No note to oneself and no path of somebody's machine stands in code or documentation."""
    text = path.read_text(encoding="utf-8")

    assert LEFTOVERS.findall(text) == []
    assert MACHINE_PATHS.findall(text) == []


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("test_*.py")), ids=_name)
def test_every_test_asserts_and_says_what_must_hold(path: Path) -> None:
    """A test without a docstring teaches nothing; one without a check cannot fail."""
    functions = list(_functions(path))
    checking = {node.name for node in functions if "assert " in ast.unparse(node)}
    wrong = []
    for node in functions:
        if not node.name.startswith("test_"):
            continue
        called = {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
        if ast.get_docstring(node) is None:
            wrong.append(f"{node.name}: no docstring")
        checks = re.search(r"\bassert\b|pytest\.(?:raises|warns)|\b(?:assert|check|expect)_", ast.unparse(node))
        if not checks and not called & checking:
            wrong.append(f"{node.name}: asserts nothing")

    assert [] == wrong
