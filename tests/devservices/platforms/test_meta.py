"""Meta's rules, over real HTTP: what it takes, what it refuses, and by which code."""

from typing import Any

import httpx
import pytest

from devservices.platforms.fake import FakePlatforms
from devservices.platforms.names import Platform
from tests.devservices.platforms.wire import (
    DATASET,
    NOW_S,
    TOKEN,
    Client,
    digest,
    meta_event,
    web_event,
)

DAY_S = 86_400
EXTINFO = meta_event()["app_data"]["extinfo"]


def _error(answer: httpx.Response) -> tuple[int, int, int | None]:
    """Return status, code and subcode of a refusal."""
    error = answer.json()["error"]
    return answer.status_code, error["code"], error.get("error_subcode")


def test_events_are_taken_as_they_came(platforms: FakePlatforms, client: Client) -> None:
    """A good call is answered with its number of events, and each is kept whole; nothing is wrong with it."""
    events = [meta_event("e-1"), web_event("e-2")]
    answer = client.meta(*events, test_event_code="TEST1", partner_agent="ours")

    assert answer.status_code == 200
    assert answer.json() == {"events_received": 2, "messages": [], "fbtrace_id": answer.json()["fbtrace_id"]}
    taken = platforms.ledger.events()
    assert [event.content for event in taken] == events
    assert {(each.platform, each.destination, each.test_code, each.received_ms) for each in taken} == {
        (Platform.META, DATASET, "TEST1", NOW_S * 1000)
    }
    assert platforms.ledger.violations() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"event_time": NOW_S - 7 * DAY_S},
        {"event_time": NOW_S + 60},
        {"event_time": NOW_S - 62 * DAY_S, "action_source": "physical_store", "app_data": ...},
        {"action_source": "system_generated", "app_data": ...},
        {"custom_data__value": 9, "custom_data__currency": "eur"},
        {"custom_data__shade": "own property", "custom_data__sizes": [1, 2]},
        {"event_name": "own_name", "custom_data": ...},
        {"user_data": {"fn": [digest("ann")], "ln": digest("bee")}},
        {"user_data": {"anon_id": "i-1"}},
        {"user_data": {"client_user_agent": "x", "fbp": "fb.1.1700000000000.123"}},
        {
            "data_processing_options": ["LDU"],
            "data_processing_options_country": 1,
            "data_processing_options_state": 1000,
        },
        {"data_processing_options": []},
        {"opt_out": True, "original_event_data": {"event_name": "Purchase"}},
        {"app_data__advertiser_tracking_enabled": 0},
    ],
    ids=str,
)
def test_what_is_good_is_taken(platforms: FakePlatforms, client: Client, changes: dict[str, Any]) -> None:
    """Each of these is within the rules, to the very edge."""
    assert client.meta(meta_event(**changes)).status_code == 200
    assert platforms.ledger.violations() == []


@pytest.mark.parametrize(
    ("subcode", "changes"),
    [
        (2804003, {"event_time": NOW_S - 7 * DAY_S - 1}),
        (2804003, {"event_time": NOW_S - 62 * DAY_S - 1, "action_source": "physical_store", "app_data": ...}),
        (2804009, {"custom_data__value": ...}),
        (2804009, {"custom_data": ...}),
        (2804010, {"custom_data__currency": ...}),
        (2804050, {"user_data": {}}),
        (2804050, {"user_data": {"country": digest("de"), "client_user_agent": "x"}}),
        (2804050, {"user_data": {name: digest("x") for name in ("ct", "country", "st", "zp", "ge")}}),
        (2804050, {"user_data": {"db": digest("19700101"), "client_user_agent": "x"}}),
        (2804050, {"user_data": {"fn": digest("ann"), "ge": digest("f")}}),
        (2804050, {"user_data": {"ln": digest("bee"), "ge": digest("f")}}),
        (2804050, {"user_data": {"em": [], "external_id": "", "country": digest("de")}}),
        (2804050, {"user_data": {"unheard_of": "x"}}),
        (None, {"event_time": NOW_S + 61}),
        (None, {"event_time": NOW_S * 1000}),
        (None, {"event_time": str(NOW_S)}),
        (None, {"event_time": float(NOW_S)}),
        (None, {"event_time": True}),
        (None, {"event_time": ...}),
        (None, {"event_name": ""}),
        (None, {"event_name": ...}),
        (None, {"event_id": 7}),
        (None, {"event_id": None}),
        (None, {"action_source": "web"}),
        (None, {"action_source": ...}),
        (None, {"user_data": ...}),
        (None, {"user_data": []}),
        (None, {"user_data__em": 7}),
        (None, {"user_data__em": [None]}),
        (None, {"user_data__madid": ["x"]}),
        (None, {"custom_data": []}),
        (None, {"custom_data__value": "9.99"}),
        (None, {"custom_data__value": True}),
        (None, {"custom_data__value": None}),
        (None, {"custom_data__currency": "EURO"}),
        (None, {"custom_data__currency": "E€R"}),
        (None, {"custom_data__num_items": 1.5}),
        (None, {"custom_data__content_ids": "sku-1"}),
        (None, {"custom_data__content_ids": [1]}),
        (None, {"custom_data__content_type": "shoe"}),
        (None, {"custom_data__contents": ["sku-1"]}),
        (None, {"custom_data__contents": [{"quantity": 1}]}),
        (None, {"custom_data__contents": [{"id": "sku-1", "quantity": "1"}]}),
        (None, {"custom_data__contents": [{"id": "sku-1", "delivery_category": "drone"}]}),
        (None, {"app_data": ...}),
        (None, {"app_data__extinfo": ...}),
        (None, {"app_data__extinfo": [*EXTINFO, ""]}),
        (None, {"app_data__extinfo": EXTINFO[:-1]}),
        (None, {"app_data__extinfo": [*EXTINFO[:-1], None]}),
        (None, {"app_data__extinfo": ["", *EXTINFO[1:]]}),
        (None, {"app_data__extinfo": ["a3", *EXTINFO[1:]]}),
        (None, {"app_data__extinfo": [*EXTINFO[:4], "", *EXTINFO[5:]]}),
        (None, {"app_data__advertiser_tracking_enabled": ...}),
        (None, {"app_data__advertiser_tracking_enabled": 2}),
        (None, {"app_data__application_tracking_enabled": "1"}),
        (None, {"advertiser_tracking_enabled": 1}),
        (None, {"extinfo": EXTINFO}),
        (None, {"data_processing_options": ["LDU"], "data_processing_options_country": 1}),
        (None, {"data_processing_options": "LDU"}),
        (None, {"opt_out": 1}),
    ],
    ids=str,
)
def test_one_bad_event_refuses_the_call(
    platforms: FakePlatforms, client: Client, subcode: int | None, changes: dict[str, Any]
) -> None:
    """Nothing of the call is taken, the code is 100 with the subcode of the rule, and no text tells which event."""
    answer = client.meta(meta_event("good-1"), meta_event("bad", **changes), meta_event("good-2"))

    assert _error(answer) == (400, 100, subcode)
    assert "bad" not in answer.text
    assert answer.json()["error"]["is_transient"] is False
    assert platforms.ledger.events() == []
    (call,) = platforms.ledger.calls()
    assert (call.events, call.taken, call.status, call.code, call.subcode) == (3, 0, 400, 100, subcode)
    assert call.reason


def test_the_bounds_of_a_call(platforms: FakePlatforms, client: Client) -> None:
    """A call brings 1 to 1,000 events."""
    many = [web_event(f"e-{number}") for number in range(1001)]

    assert _error(client.meta()) == (400, 100, None)
    assert _error(client.meta(*many)) == (400, 100, None)
    assert client.meta(*many[1:]).json()["events_received"] == 1000
    assert len(platforms.ledger.events()) == 1000


@pytest.mark.parametrize("body", [b"", b"[]", b'{"data": {}}', b'{"data": [1', b'{"data": ["\xff"]}', b"{}", b"null"])
def test_a_body_that_is_no_call_is_refused(platforms: FakePlatforms, client: Client, body: bytes) -> None:
    """Whatever cannot be read is an invalid parameter, and the token still counts."""
    answer = client.http.post("/v26.0/1/events", content=body, headers={"Authorization": "Bearer t"})

    assert _error(answer) == (400, 100, None)
    assert [call.events for call in platforms.ledger.calls()] == [0]


def test_an_element_that_is_no_event_is_refused(client: Client) -> None:
    """An element of `data` that is no object refuses the call, as a bad test code does."""
    assert _error(client.meta(web_event(), "event")) == (400, 100, None)
    assert _error(client.meta(web_event(), test_event_code=1)) == (400, 100, None)


def test_a_token_may_stand_in_three_places(platforms: FakePlatforms, client: Client) -> None:
    """A token counts in the header, the query or the body; without any nobody is known."""
    platforms.access.admit(Platform.META, TOKEN)
    path, call = f"/v25.0/{DATASET}/events", {"data": [web_event()]}

    assert client.http.post(path, json=call, headers={"authorization": f"bearer {TOKEN}"}).status_code == 200
    assert client.http.post(path, json=call, params={"access_token": TOKEN}).status_code == 200
    assert client.http.post(path, json={**call, "access_token": TOKEN}).status_code == 200
    assert _error(client.http.post(path, json=call)) == (401, 190, None)
    assert _error(client.meta(web_event(), token="other")) == (401, 190, None)
    assert len({call.sender for call in platforms.ledger.calls()[:3]}) == 1


def test_a_token_is_good_for_its_datasets(platforms: FakePlatforms, client: Client) -> None:
    """Another dataset is as if it did not exist: code 100, subcode 33."""
    platforms.access.admit(Platform.META, TOKEN, DATASET)

    assert client.meta(web_event()).status_code == 200
    assert _error(client.meta(web_event(), dataset="999")) == (400, 100, 33)
    assert client.tiktok(token="anybody").json()["code"] != 40105
    platforms.access.open()
    assert client.meta(web_event(), token="anybody", dataset="999").status_code == 200


@pytest.mark.parametrize("path", ["/26.0/1/events", "/v26.0/events", "/v26.0/1/2/events", "/v26.0/1/events/", "/x"])
def test_other_paths_are_unknown(platforms: FakePlatforms, client: Client, path: str) -> None:
    """Only calls that bring events are served, and nothing else counts as a call."""
    assert client.http.post(path, json={"data": [web_event()]}).status_code == 404
    assert client.http.get("/v26.0/1/events").status_code == 404
    assert platforms.ledger.calls() == []
