"""Statements about users, and postbacks, through HTTP: the doors, promise and answer of events, topics of their own."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.edge import APP, Answer, ask, figures, on_local_log, post, run_command
from tests.support.service import ServiceProcess
from tests.support.skan import APPLE_SIGNED

NOW = "2026-11-24T10:00:00Z"
PROPERTIES = {"timestamp": NOW, "app_user_id": "user-1", "properties": {"plan": "pro", "email": "ann@b.c"}}
PATHS = ("/users/properties", "/consent", "/skan/postbacks")
CONSENT = {"timestamp": NOW, "app_user_id": "user-1", "install_id": "i", "advertising": False}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """Provide an edge over the local log."""
    folder = tmp_path_factory.mktemp("statements")
    with ServiceProcess(on_local_log(folder), folder=folder) as process:
        yield process


def state(service: ServiceProcess, path: str, statement: Any, **headers: str) -> Answer:
    """Send a statement."""
    return ask(service.url, path, json.dumps(statement).encode(), {"X-App-Id": APP} | headers)


def told(service: ServiceProcess, topic: str) -> list[dict[str, Any]]:
    """Return what lies on a topic."""
    done = run_command(["tail", topic], service.settings)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("path", "topic", "statement"),
    [
        ("/users/properties", "user-properties", PROPERTIES),
        ("/consent", "consent", CONSENT),
        ("/skan/postbacks", "skan-postbacks", APPLE_SIGNED[0]),
    ],
)
def test_a_statement_is_stored(service: ServiceProcess, path: str, topic: str, statement: dict[str, Any]) -> None:
    """It is answered as a batch of one, lies on its own topic without raw identifiers, and is no event."""
    before = figures(service)
    answer = state(service, path, statement)
    (record,) = told(service, topic.removesuffix("-postbacks"))
    after = figures(service)

    assert (answer.status, answer.json()) == (
        202,
        {
            "requestId": answer.headers["x-request-id"],
            "stored": "spooled",
            "accepted": 1,
            "duplicates": 0,
            "rejected": [],
        },
    )
    assert "ann@b.c" not in json.dumps(record)
    metric = f'ingest_{topic.replace("-", "_")}_total{{fate="spooled"}}'
    assert after[metric] - before[metric] == 1
    assert after["ingest_events_received_total"] == before["ingest_events_received_total"]


@pytest.mark.parametrize("path", PATHS)
def test_a_fault_is_told(service: ServiceProcess, path: str) -> None:
    """By its code and place, never a value; what is no JSON as a whole."""
    answer = state(service, path, {"timestamp": "secret-17"})
    (rejection,) = answer.json()["error"]["details"]["rejected"]
    assert (answer.status, answer.code) == (400, "ALL_EVENTS_REJECTED")
    assert (rejection["index"], rejection["code"], rejection["path"]) == (0, "INVALID_TIMESTAMP", "timestamp")
    assert b"secret-17" not in answer.body

    broken = ask(service.url, path, b"{", {"X-App-Id": APP})
    assert (broken.status, broken.code) == (400, "INVALID_JSON")


@pytest.mark.parametrize("path", PATHS)
def test_the_same_doors(service: ServiceProcess, path: str) -> None:
    """Who sends is named by header or body; strangers, other methods and preflights are answered as with events."""
    named = ask(service.url, path, json.dumps({"app_id": APP, **PROPERTIES, **CONSENT, **APPLE_SIGNED[4]}).encode())
    stranger = ask(service.url, path, b"{}", {"X-App-Id": "app_stranger"})
    wrong = ask(service.url, path, method="PUT")
    preflight = ask(service.url, path, method="OPTIONS", headers={"Origin": "https://shop.example"})

    assert named.status == 202
    assert (stranger.status, stranger.code) == (401, "UNAUTHENTICATED")
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST, OPTIONS")
    assert preflight.status == 204
    assert preflight.headers["access-control-allow-origin"] == "https://shop.example"
    assert post(service.url, b"[]").status == 400
