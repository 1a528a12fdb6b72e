"""TikTok's rules, over real HTTP: what it takes, what it refuses, and which field and index it names."""

from typing import Any

import pytest

from devservices.platforms.fake import FakePlatforms
from devservices.platforms.names import Platform
from tests.devservices.platforms.wire import NOW_S, PIXEL, TOKEN, Client, digest, tiktok_event

DAY_S = 86_400


def test_events_are_taken_as_they_came(platforms: FakePlatforms, client: Client) -> None:
    """A good call is code 0, and each event is kept whole, with its source; nothing is wrong with it."""
    events = [tiktok_event("e-1"), tiktok_event("e-2")]
    answer = client.tiktok(*events, test_event_code="TEST1").json()

    assert answer == {"code": 0, "message": "OK", "request_id": answer["request_id"], "data": {}}
    taken = platforms.ledger.events(Platform.TIKTOK)
    assert [event.content for event in taken] == events
    assert {(each.destination, each.source, each.test_code) for each in taken} == {(PIXEL, "web", "TEST1")}
    assert platforms.ledger.violations() == []


@pytest.mark.parametrize(
    ("source", "changes"),
    [
        ("web", {"event_time": NOW_S - 100 * DAY_S}),
        ("web", {"event": "OwnName", "properties": ..., "limited_data_use": True}),
        ("web", {"user__idfv": "00000000-1111-4222-8333-444444444444", "user__state": "ca"}),
        ("web", {"user__email": [digest("a"), digest("b")], "user__external_id": digest("u-1")}),
        ("app", {"page": ..., "app": {"app_id": "com.example", "app_version": "1.2.3.4"}}),
        ("app", {"app": {"app_id": "1"}, "user__idfa": digest("id"), "user__att_status": "AUTHORIZED"}),
        ("app", {"app": {"app_id": "1"}, "user__gaid": "01234567-89ab-4cde-8f01-23456789abcd"}),
        ("offline", {"page": ..., "event_time": NOW_S - 28 * DAY_S}),
        ("crm", {"page": ..., "lead": {"lead_id": "1"}}),
    ],
    ids=str,
)
def test_what_is_good_is_taken(platforms: FakePlatforms, client: Client, source: str, changes: dict[str, Any]) -> None:
    """Each of these is within the rules, to the very edge."""
    assert client.tiktok(tiktok_event(**changes), source=source).json()["code"] == 0
    assert platforms.ledger.violations() == []


@pytest.mark.parametrize(
    ("source", "field", "changes"),
    [
        ("web", "event", {"event": ""}),
        ("web", "event", {"event": ...}),
        ("web", "event_time", {"event_time": "2026-01-01T00:00:00Z"}),
        ("web", "event_time", {"event_time": 1.5}),
        ("web", "event_time", {"event_time": ...}),
        ("web", "event_id", {"event_id": 7}),
        ("web", "user", {"user": []}),
        ("web", "user.email", {"user__email": None}),
        ("web", "user.ttclid", {"user__ttclid": ["x"]}),
        ("web", "user.first_name", {"user__first_name": [digest("ann")]}),
        ("web", "properties.value", {"properties__value": "9.99"}),
        ("web", "properties.value", {"properties__value": False}),
        ("web", "properties.currency", {"properties__currency": "EURO"}),
        ("web", "properties.num_items", {"properties__num_items": "1"}),
        ("web", "properties.content_ids", {"properties__content_ids": [1]}),
        ("web", "properties.contents", {"properties__contents": {}}),
        ("web", "properties.contents.1.content_id", {"properties__contents": [{"content_id": "1"}, {"content_id": 2}]}),
        ("web", "properties.contents.0.price", {"properties__contents": [{"price": "1"}]}),
        ("web", "page.url", {"page": ...}),
        ("web", "page.url", {"page__url": ""}),
        ("web", "page.url", {"page__url": 1}),
        ("web", "limited_data_use", {"limited_data_use": "yes"}),
        ("app", "app.app_id", {}),
        ("app", "app.app_id", {"app": {"app_name": "ours"}}),
        ("app", "app.app_id", {"app": {"app_id": 1}}),
        ("offline", "event", {"event": "OwnName"}),
        ("offline", "event_time", {"event_time": NOW_S - 28 * DAY_S - 1}),
    ],
    ids=str,
)
def test_one_bad_event_refuses_the_call(
    platforms: FakePlatforms, client: Client, source: str, field: str, changes: dict[str, Any]
) -> None:
    """Nothing of the call is taken; the answer is HTTP 200 with code 40002, and names the event's index and field."""
    good = tiktok_event("good", app={"app_id": "com.example"})
    answer = client.tiktok(good, tiktok_event("bad", **changes), source=source)

    assert (answer.status_code, answer.json()["code"]) == (200, 40002)
    assert answer.json()["message"] == f"data.1.{field}: invalid parameter"
    assert platforms.ledger.events() == []
    (call,) = platforms.ledger.calls()
    assert (call.status, call.code, call.reason) == (200, 40002, field)


def test_the_envelope_is_looked_at(client: Client) -> None:
    """Source, source id and the number of events are part of the rules."""
    event = tiktok_event()
    answers = [
        client.tiktok(),
        client.tiktok(*(tiktok_event(f"e-{number}") for number in range(1001))),
        client.tiktok(event, source="tv"),
        client.tiktok(event, source=None),
        client.tiktok(event, source_id=""),
        client.tiktok(event, source_id=7),
        client.tiktok(event, test_event_code=7),
        client.tiktok("event"),
    ]

    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(200, 40002)}
    assert client.tiktok(*(tiktok_event(f"e-{number}") for number in range(1000))).json()["code"] == 0


@pytest.mark.parametrize("body", [b"", b"[]", b'{"data": [', b"\xff"])
def test_a_body_that_is_no_call_is_refused(client: Client, body: bytes) -> None:
    """Whatever cannot be read is an invalid parameter, once the token is known."""
    path = "/open_api/v1.3/event/track/"

    assert client.http.post(path, content=body, headers={"Access-Token": "t"}).json()["code"] == 40002
    assert client.http.post(path, content=body).json()["code"] == 40105


def test_tokens_and_sources_can_be_restricted(platforms: FakePlatforms, client: Client) -> None:
    """An unknown token is 40105, a source of somebody else 40007; without its slash the path is unknown."""
    platforms.access.admit(Platform.TIKTOK, TOKEN, PIXEL)

    assert client.tiktok(tiktok_event()).json()["code"] == 0
    assert client.tiktok(tiktok_event(), token="other").json()["code"] == 40105
    assert client.tiktok(tiktok_event(), token="").json()["code"] == 40105
    assert client.tiktok(tiktok_event(), source_id="OTHER").json()["code"] == 40007
    assert client.http.post("/open_api/v1.3/event/track", headers={"Access-Token": TOKEN}).status_code == 404
