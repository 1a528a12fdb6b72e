"""The surface for tests in other processes and for humans."""

import re
from pathlib import Path
from typing import Any, Final, get_args

import pytest

from devservices.platforms.behaviour import AnyBehaviour, Behaviour
from devservices.platforms.fake import FakePlatforms
from tests.devservices.platforms.wire import DATASET, NOW_S, TOKEN, Client, tiktok_event, web_event

ROOT: Final = Path(__file__).resolve().parents[3]


def _listed(client: Client, path: str, **query: str) -> Any:
    answer = client.http.get(path, params=query)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def test_a_failure_is_ordered_and_taken_back(client: Client) -> None:
    """An order in JSON does what one in the process does; several make a sequence; `DELETE` takes all back."""
    orders = [
        {"platform": "meta", "calls": 2, "behaviour": {"do": "status", "status": 500}},
        {"platform": "meta", "calls": 1, "behaviour": {"do": "throttled", "code": 4, "retry_after": "5"}},
        {"token": TOKEN, "destination": DATASET, "behaviour": {"do": "dead_token"}},
    ]
    assert client.http.post("/_control", json=orders).status_code == 200
    assert [order["calls"] for order in _listed(client, "/_control")["orders"]] == [2, 1, None]

    assert [client.meta(web_event()).status_code for _ in range(4)] == [500, 500, 400, 401]
    assert client.tiktok(tiktok_event()).json()["code"] == 0
    assert client.http.delete("/_control").status_code == 200
    assert client.meta(web_event()).status_code == 200
    assert _listed(client, "/_control") == {"orders": []}


@pytest.mark.parametrize(
    "behaviour",
    [
        {"do": "ok", "latency_ms": 1},
        {"do": "warned", "messages": ["x"]},
        {"do": "status"},
        {"do": "throttled"},
        {"do": "dead_token", "code": 102, "subcode": None},
        {"do": "no_permission"},
        {"do": "coded", "code": 2, "transient": True},
        {"do": "refusing", "event_ids": ["e-1"]},
        {"do": "silent", "taken": True},
        {"do": "reset", "taken": False},
        {"do": "garbage", "body": "?"},
    ],
    ids=str,
)
def test_every_behaviour_has_a_name(client: Client, behaviour: dict[str, Any]) -> None:
    """Each kind can be ordered in JSON, and is listed as it was ordered."""
    assert client.http.post("/_control", json={"behaviour": behaviour}).status_code == 200

    (order,) = _listed(client, "/_control")["orders"]
    assert {name: order["behaviour"][name] for name in behaviour} == behaviour


def test_every_behaviour_is_told() -> None:
    """The page on forwarding lists exactly the kinds of behaviour, with their members."""
    page = (ROOT / "docs" / "forwarding.md").read_text(encoding="utf-8")
    _, _, table = page.partition("| `do` |")
    told = {}
    for line in table.partition("\n\n")[0].splitlines()[2:]:
        name, _, members = line.strip("|").split(" | ")
        told[name.strip(" `")] = set(re.findall(r"`(\w+)`", members))

    assert told == {
        str(kind.__struct_config__.tag): set(kind.__struct_fields__) - set(Behaviour.__struct_fields__)
        for kind in get_args(AnyBehaviour)
    }


@pytest.mark.parametrize(
    "order",
    [
        None,
        {},
        {"behaviour": {"do": "explode"}},
        {"behaviour": {"do": "silent"}},
        {"behaviour": {"do": "ok"}, "calls": 0},
        {"behaviour": {"do": "ok"}, "platform": "snap"},
        {"behaviour": {"do": "ok", "when": "now"}},
        {"behaviour": {"do": "status", "status": 99}},
        {"behaviour": {"do": "status", "retry_after": "1\r\nx: y"}},
    ],
    ids=str,
)
def test_an_order_that_cannot_be_followed_is_refused(client: Client, order: object) -> None:
    """The answer says why, and nothing is in force."""
    answer = client.http.post("/_control", json=order)

    assert answer.status_code == 400
    assert answer.json()["error"]
    assert _listed(client, "/_control") == {"orders": []}


def test_what_arrived_is_listed(client: Client) -> None:
    """Events come whole, with their time; calls with their outcome and without their token; each by platform."""
    client.meta(web_event(), web_event(), token="secret-token")
    client.tiktok(tiktok_event("e-2", user__ip="203.0.113.7"))

    (from_meta,) = _listed(client, "/_events", platform="meta")["events"]
    assert from_meta["payload"] == web_event()
    assert (from_meta["received_ms"], from_meta["destination"]) == (NOW_S * 1000, DATASET)
    assert [event["event_id"] for event in _listed(client, "/_events")["events"]] == ["e-1", "e-2"]
    (call,) = _listed(client, "/_calls", platform="meta")["calls"]
    assert (call["events"], call["taken"], call["repeated"], call["behaviour"]) == (2, 1, 1, "ok")
    assert "secret-token" not in client.http.get("/_calls").text
    assert _listed(client, "/_violations", platform="meta") == {"violations": []}
    assert {each["reason"] for each in _listed(client, "/_violations")["violations"]} == {"network_address"}
    assert [each["times"] for each in _listed(client, "/_repeats")["repeats"]] == [2]
    assert _listed(client, "/_totals")["tiktok"] == {"calls": 1, "events": 1, "repeats": 0, "violations": 1}

    assert client.http.delete("/_events").status_code == 200
    assert _listed(client, "/_events") == {"events": []}
    assert _listed(client, "/_totals")["meta"] == {"calls": 0, "events": 0, "repeats": 0, "violations": 0}


def test_tokens_are_admitted(client: Client) -> None:
    """What is admitted over HTTP is known, and nothing else; `DELETE` opens to all."""
    admission = {"platform": "meta", "token": TOKEN, "destinations": [DATASET]}
    assert client.http.post("/_access", json=admission).status_code == 200

    assert client.meta(web_event()).status_code == 200
    assert client.meta(web_event(), token="other").status_code == 401
    assert client.meta(web_event(), dataset="9").json()["error"]["error_subcode"] == 33
    assert client.http.delete("/_access").status_code == 200
    assert client.meta(web_event(), token="other").status_code == 200


def test_a_human_can_read_what_arrived(platforms: FakePlatforms, client: Client) -> None:
    """The page is text: numbers, newest events with the keys they carry, calls, and what was wrong."""
    client.meta(web_event("e-good"))
    client.meta(web_event("e-old", event_time=0))
    client.tiktok(tiktok_event("e-raw", user__email="ann@example.com"))
    answer = client.http.get("/")

    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "meta    1 events in 2 calls, 0 sent again, 0 violations" in answer.text
    assert "ViewContent            e-good" in answer.text
    assert "em external_id client_user_agent" in answer.text
    assert "HTTP 400 100/2804003 event_time" in answer.text
    assert "email: raw_address" in answer.text
    assert "ann@example.com" not in answer.text
    platforms.ledger.forget()
    assert "e-good" not in client.http.get("/").text


def test_what_is_unknown_says_so(client: Client) -> None:
    """Other paths and platforms are refused, not ignored, and a body has a bound."""
    assert client.http.get("/_nothing").status_code == 404
    assert client.http.put("/_control").status_code == 404
    assert client.http.get("/_events", params={"platform": "snap"}).status_code == 400
    assert client.http.post("/_access", content=b"{").status_code == 400
    assert client.http.post("/v26.0/1/events", content=b"x" * (33 * 1024 * 1024)).status_code == 413
