import doctest
import importlib
import pkgutil
import sys
from pathlib import Path

import pytest

import normalize

MODULES = ["normalize", *(f"normalize.{module.name}" for module in pkgutil.iter_modules(normalize.__path__))]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_hold(name: str) -> None:
    """Every example in a docstring gives what it says."""
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_the_package_stands_alone() -> None:
    """Only the standard library and the package itself are imported, and its types are published."""
    folder = Path(normalize.__path__[0])
    lines = [line.split() for path in folder.glob("*.py") for line in path.read_text().splitlines()]
    imported = {line[1].split(".")[0] for line in lines if len(line) > 1 and line[0] in {"from", "import"}}
    assert imported <= sys.stdlib_module_names | {"normalize"}
    assert (folder / "py.typed").exists()


def test_what_is_public() -> None:
    """Everything that is named is there, and the digests' schemes are versioned."""
    assert all(hasattr(normalize, name) for name in normalize.__all__)
    assert set(normalize.SCHEME) >= {"email", "phone", "phone_e164", "members"}
    assert all(version.split("/")[1].isdigit() for version in normalize.SCHEME.values())
