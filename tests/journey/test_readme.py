"""The README's walk through keys and kill switches, run as it is written."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.journey.waiting import until
from tests.support.service import ServiceProcess

ROOT = Path(__file__).resolve().parents[2]
SECTION = "## Partners, keys and kill switches"
_FENCE = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROMISE = re.compile(r" +# (\d{3})(?: ([A-Z_]+))?$", re.MULTILINE)
_STATUS = re.compile(r"HTTP/1\.1 (\d{3}) ")
_CODE = re.compile(r'"code":"([A-Z_]+)"')


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[ServiceProcess]:
    """Provide what `make run` starts."""
    with ServiceProcess({}, folder=tmp_path, args=("dev",)) as service:
        yield service


@pytest.mark.usefixtures("postgres_programs")
def test_the_walk_of_the_readme(demo: ServiceProcess, tmp_path: Path) -> None:
    """Each `curl` of the section answers what the README says behind it, and the kill is told on the terminal."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = "".join(_FENCE.findall(text.partition(f"\n{SECTION}\n")[2].partition("\n## ")[0]))
    promised = _PROMISE.findall(commands)
    ingest = tmp_path / "ingest"
    ingest.write_text(f'#!/bin/sh\nexec {sys.executable} -m ingest "$@"\n')
    ingest.chmod(0o700)
    script = _PROMISE.sub("", commands).replace("http://127.0.0.1:8080", demo.url)
    walked = subprocess.run(
        ["/bin/bash", "-euc", script.replace(".venv/bin/ingest", str(ingest))],
        env={"PATH": "/usr/bin:/bin", **demo.settings},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )

    assert walked.returncode == 0, walked.stderr
    assert len(promised) == 9
    assert _STATUS.findall(walked.stdout) == [status for status, _ in promised]
    assert _CODE.findall(walked.stdout) == [code for _, code in promised if code]
    for action in ("key.created", "key.killed", "key.lifted", "key.rotated", "key.revoked"):
        assert action in walked.stdout
    until(lambda: "Kill switch turned on" in demo.stderr_path.read_text())
