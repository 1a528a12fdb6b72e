"""From an operator's command to a client: what an app's clients are told, by the embedded default."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.journey.caller import Caller
from tests.journey.waiting import until
from tests.support.service import ServiceProcess


def operate(service: ServiceProcess, *words: str) -> Any:
    """Run a command beside the running service, and return what it prints."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("INGEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "ingest", *words],
        env={**env, **service.settings},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return json.loads(done.stdout)


@pytest.mark.usefixtures("postgres_programs")
def test_a_client_learns_what_an_operator_sets(tmp_path: Path) -> None:
    """Its next question brings it, with a new entity tag; after that there is nothing new; a kill changes nothing."""
    with ServiceProcess({}, folder=tmp_path, args=("dev",)) as service:
        caller = Caller(service.url)
        path = "/config?app_id=app_demo&platform=ios"
        first = caller.send("GET", path)
        known: dict[str, str | bytes] = {"If-None-Match": first.headers["etag"]}
        assert caller.send("GET", path, headers=known).status == 304

        operate(service, "apps", "config", "app_demo", "set", "events.killswitch", "true", "--platform", "ios")
        until(lambda: caller.send("GET", path, headers=known).status == 200)
        second = caller.send("GET", path)
        others = caller.send("GET", "/config?app_id=app_demo&platform=web")
        told = operate(service, "apps", "config", "app_demo", "show", "--platform", "ios")

        operate(service, "kill", "on", "key", "app_demo", "--reason", "a rehearsal", "--actor", "kim", "--json")
        until(lambda: caller.send("GET", path).status == 503)

    assert first.json()["data"]["config"]["events"]["killswitch"] is False
    assert second.json() == told
    assert second.json()["data"]["config"]["events"]["killswitch"] is True
    assert others.json()["data"]["config"]["events"]["killswitch"] is False
    assert len({each.json()["data"]["version"] for each in (first, second)}) == 2
    assert others.headers["etag"] == first.headers["etag"]
