"""`GET /config` over HTTP: one small answer with an entity tag, from a registry that may change under it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.edge import APP, Answer, ask, await_true, figures, on_local_log
from tests.support.service import ServiceProcess

ORIGIN = "https://shop.example"
TABLES = """
[apps.app_test.remote_config.events]
denylist = ["noise"]
[apps.app_test.remote_config.platforms.ios.events]
sampling_rate = 0.25
[apps.app_retired]
project_id = "prj_test"
organization_id = "org_test"
active = false
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Provide the folder of an edge."""
    return tmp_path


@pytest.fixture
def service(folder: Path) -> Iterator[ServiceProcess]:
    """Provide an edge over the local log, with a configured app."""
    settings = on_local_log(folder)
    with (folder / "apps.toml").open("a", encoding="utf-8") as file:
        file.write(TABLES)
    with ServiceProcess(settings, folder=folder) as process:
        yield process


def config(service: ServiceProcess, query: str = f"?app_id={APP}", **headers: str) -> Answer:
    """Ask for a configuration; headers are named with `_` for `-`."""
    return ask(service.url, f"/config{query}", headers={name.replace("_", "-"): text for name, text in headers.items()})


def told(answer: Answer) -> dict[str, Any]:
    """Return what a client reads."""
    data: dict[str, Any] = answer.json()["data"]
    return data


def test_a_client_is_told_what_to_do(service: ServiceProcess) -> None:
    """By the id in the query, else by the header; for its platform, else what all are told."""
    base, named = config(service), config(service, "", X_App_Id=APP)
    ios, other = config(service, f"?app_id={APP}&platform=ios"), config(service, f"?platform=unity&app_id={APP}")

    assert base.status == 200
    assert base.headers["content-type"] == "application/json"
    assert base.headers["cache-control"] == "private, no-cache"
    assert told(base)["config"] == {"events": {"denylist": ["noise"], "killswitch": False, "sampling_rate": 1.0}}
    assert told(base)["cache_ttl"] == 300
    assert base.body == named.body == other.body
    assert base.headers["etag"] == other.headers["etag"] != ios.headers["etag"]
    assert told(ios)["config"]["events"]["sampling_rate"] == 0.25
    assert told(ios)["version"] != told(base)["version"]
    assert config(service, f"?app_id={APP}", X_App_Id="app_other").status == 200


def test_what_a_client_knows_is_not_sent_again(service: ServiceProcess) -> None:
    """304 without a body for its entity tag, in a list, weak, or a star; the whole for any other; HEAD alike."""
    etag = config(service).headers["etag"]
    for given in (etag, f'"x", W/{etag}', "*"):
        known = config(service, If_None_Match=given, Origin=ORIGIN)
        assert (known.status, known.body, known.headers["etag"]) == (304, b"", etag)
        assert known.headers["cache-control"] == "private, no-cache"
        assert "x-request-id" in known.headers
        assert known.headers["access-control-allow-origin"] == ORIGIN
        assert "etag" in known.headers["access-control-expose-headers"].lower()
        assert known.headers["vary"] == "Origin, X-App-Id"
    assert config(service, If_None_Match='"x"').status == 200
    head = ask(service.url, f"/config?app_id={APP}", method="HEAD")
    assert (head.status, head.body, head.headers["etag"]) == (200, b"", etag)
    assert int(head.headers["content-length"]) == len(config(service).body)


def test_who_may_not_send_is_told_nothing(service: ServiceProcess) -> None:
    """401 for an unknown and for a retired app, in the envelope; a known entity tag opens no door."""
    for query, code in (("", "UNAUTHENTICATED"), ("?app_id=", "UNAUTHENTICATED"), ("?app_id=app_x", "UNAUTHENTICATED")):
        answer = config(service, query, If_None_Match="*")
        assert (answer.status, answer.code) == (401, code)
        assert answer.json()["error"]["requestId"] == answer.headers["x-request-id"]
        assert "etag" not in answer.headers
    assert config(service, "?app_id=app_retired").code == "REVOKED"
    assert config(service, "?app_id=%00%ff%c3").code == "UNAUTHENTICATED"
    assert b"app_x" not in config(service, "?app_id=app_x").body


def test_browsers_may_ask(service: ServiceProcess) -> None:
    """The preflight allows the conditional request; other methods are told apart."""
    preflight = ask(service.url, "/config", method="OPTIONS", headers={"Origin": ORIGIN})
    wrong = ask(service.url, f"/config?app_id={APP}", b"{}")

    assert preflight.status == 204
    assert "GET" in preflight.headers["access-control-allow-methods"]
    assert "if-none-match" in preflight.headers["access-control-allow-headers"].lower()
    assert (wrong.status, wrong.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


def test_a_change_of_the_registry_is_told(service: ServiceProcess, folder: Path) -> None:
    """The next poll brings a new version and entity tag; a kill is a 503, and clients keep what they know."""
    before = config(service)
    path = folder / "apps.toml"
    path.write_text(path.read_text(encoding="utf-8").replace('"noise"', '"other"'), encoding="utf-8")
    await_true(lambda: config(service, If_None_Match=before.headers["etag"]).status == 200, "it is told")
    after = config(service)
    assert told(after)["config"]["events"]["denylist"] == ["other"]
    assert told(after)["version"] != told(before)["version"]

    path.write_text(path.read_text(encoding="utf-8") + "[kill]\nglobal = true\n", encoding="utf-8")
    await_true(lambda: config(service).status == 503, "it is killed")
    killed = config(service, If_None_Match=after.headers["etag"])
    assert (killed.code, killed.json()["error"]["details"]) == ("KILL_SWITCH", {"scope": "global"})
    assert 30 <= int(killed.headers["retry-after"]) <= 90

    told_figures = figures(service)
    assert told_figures['ingest_requests_total{code="KILL_SWITCH",route="/config",status="503"}'] > 0
    await_true(lambda: {200, 503} <= {line["status"] for line in lines(service)}, "the lines are written")


def lines(service: ServiceProcess) -> list[dict[str, Any]]:
    """Return the log lines of the call."""
    return [json.loads(line) for line in service.stdout_path.read_bytes().splitlines() if b'"/config"' in line]
