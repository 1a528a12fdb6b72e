"""What must never reach a platform is noted, wherever it stands, whether or not the call is taken."""

from typing import Any

import pytest

from devservices.platforms.behaviour import Status
from devservices.platforms.fake import FakePlatforms
from devservices.platforms.hygiene import EMPTY_DIGEST, ZERO_ID, Reason
from devservices.platforms.names import Platform
from tests.devservices.platforms.wire import NOW_S, Client, digest, meta_event, tiktok_event, web_event

HEX = digest("x")


@pytest.mark.parametrize(
    ("member", "reason", "changes"),
    [
        ("em", Reason.NOT_A_DIGEST, {"user_data__em": "ann"}),
        ("em", Reason.NOT_A_DIGEST, {"user_data__em": [HEX, HEX + ".AQIDBAUG"]}),
        ("em", Reason.NOT_A_DIGEST, {"user_data__em": ""}),
        ("ph", Reason.NOT_A_DIGEST, {"user_data__ph": "12133734253"}),
        ("external_id", Reason.NOT_A_DIGEST, {"user_data__external_id": "u-1"}),
        ("em", Reason.UPPER_CASE_DIGEST, {"user_data__em": [HEX.upper()]}),
        ("ph", Reason.EMPTY_DIGEST, {"user_data__ph": [EMPTY_DIGEST]}),
        ("madid", Reason.DIGEST_IN_CLEAR, {"user_data__madid": HEX}),
        ("fbp", Reason.DIGEST_IN_CLEAR, {"user_data__fbp": HEX.upper()}),
        ("vendor_id", Reason.DIGEST_IN_CLEAR, {"app_data__vendor_id": HEX}),
        ("extinfo", Reason.DIGEST_IN_CLEAR, {"app_data__extinfo": ["a2", HEX, "", "", "14", *[""] * 11]}),
        ("madid", Reason.ZERO_ID, {"user_data__madid": ZERO_ID}),
        ("external_id", Reason.ZERO_ID, {"user_data__external_id": digest(ZERO_ID)}),
        ("anon_id", Reason.ZERO_ID, {"user_data__anon_id": "0" * 32}),
        ("client_ip_address", Reason.NETWORK_ADDRESS, {"user_data__client_ip_address": "8.8.8.8"}),
        ("unheard_of", Reason.RAW_ADDRESS, {"custom_data__unheard_of": {"unheard_of": "to ann@example.com"}}),
        ("order_id", Reason.RAW_ADDRESS, {"custom_data__order_id": "ann@example.com/7"}),
        ("content_name", Reason.RAW_PHONE, {"custom_data__content_name": "call +1 (213) 373-4253"}),
        ("content_ids", Reason.RAW_PHONE, {"custom_data__content_ids": ["a", "+4930901820"]}),
        ("event_source_url", Reason.RAW_ADDRESS, {"event_source_url": "https://x.example/?m=ann%40example.com"}),
        ("event_source_url", Reason.RAW_ADDRESS, {"event_source_url": "https://x.example/?m=ann%252540example.com"}),
        ("event_source_url", Reason.RAW_PHONE, {"event_source_url": "https://x.example/?t=%2B12133734253"}),
        ("event_source_url", Reason.NETWORK_ADDRESS, {"event_source_url": "https://203.0.113.7/p"}),
        ("event_source_url", Reason.EMPTY_DIGEST, {"event_source_url": f"https://x.example/?m={EMPTY_DIGEST}"}),
        ("referrer_url", Reason.NETWORK_ADDRESS, {"referrer_url": "https://[2001:db8::7]/p"}),
        ("search_string", Reason.NETWORK_ADDRESS, {"custom_data__search_string": "from 203.0.113.7."}),
        ("custom_data", Reason.RAW_ADDRESS, {"custom_data__ann@example.com": 1}),
        ("advertiser_tracking_enabled", Reason.BOOLEAN_FLAG, {"app_data__advertiser_tracking_enabled": True}),
        ("application_tracking_enabled", Reason.BOOLEAN_FLAG, {"app_data__application_tracking_enabled": False}),
        ("application_tracking_enabled", Reason.MISSING_FLAG, {"app_data__application_tracking_enabled": ...}),
        ("custom_data", Reason.MISPLACED_EVENT_ID, {"custom_data__event_id": "e-1"}),
        ("user_data", Reason.UNKNOWN_MEMBER, {"user_data__email": "x"}),
        ("event_id", Reason.NO_EVENT_ID, {"event_id": ...}),
    ],
    ids=str,
)
def test_meta_would_take_it_and_should_not_get_it(
    platforms: FakePlatforms, client: Client, member: str, reason: Reason, changes: dict[str, Any]
) -> None:
    """The event is taken, as Meta does, and exactly this is noted, without the value."""
    event = meta_event(**changes)
    answer = client.meta(event, meta_event("good"))

    assert answer.status_code == 200
    (violation,) = platforms.ledger.violations()
    assert (violation.member, violation.reason) == (member, reason)
    assert violation.event_id == event.get("event_id", "")


def test_an_advertising_id_needs_permission(platforms: FakePlatforms, client: Client) -> None:
    """On iOS an id goes with the flag that allows tracking, on TikTok with the status AUTHORIZED."""
    device = ["i2", *meta_event()["app_data"]["extinfo"][1:]]
    madid = "01234567-89ab-4cde-8f01-23456789abcd"
    for flag in (0, 1):
        changes = {"app_data__extinfo": device, "app_data__advertiser_tracking_enabled": flag}
        assert client.meta(meta_event(f"e-{flag}", user_data__madid=madid, **changes)).status_code == 200
    for status in ("DENIED", "AUTHORIZED"):
        assert client.tiktok(tiktok_event(status, user__idfa=madid, user__att_status=status)).json()["code"] == 0

    assert [(each.event_id, each.member, each.reason) for each in platforms.ledger.violations()] == [
        ("e-0", "madid", Reason.UNPERMITTED_ID),
        ("DENIED", "idfa", Reason.UNPERMITTED_ID),
    ]


@pytest.mark.parametrize(
    ("member", "reason", "changes"),
    [
        ("email", Reason.RAW_ADDRESS, {"user__email": "ann@example.com"}),
        ("email", Reason.UPPER_CASE_DIGEST, {"user__email": HEX.upper()}),
        ("phone", Reason.EMPTY_DIGEST, {"user__phone": [EMPTY_DIGEST]}),
        ("external_id", Reason.NOT_A_DIGEST, {"user__external_id": "u-1"}),
        ("zip_code", Reason.NOT_A_DIGEST, {"user__zip_code": "10115"}),
        ("idfa", Reason.NOT_A_DIGEST, {"user__idfa": "id"}),
        ("gaid", Reason.ZERO_ID, {"user__gaid": ZERO_ID}),
        ("gaid", Reason.ZERO_ID, {"user__gaid": digest(ZERO_ID)}),
        ("country", Reason.DIGEST_IN_CLEAR, {"user__country": digest("de")}),
        ("ttclid", Reason.DIGEST_IN_CLEAR, {"user__ttclid": HEX}),
        ("app_id", Reason.DIGEST_IN_CLEAR, {"app": {"app_id": HEX}}),
        ("ip", Reason.NETWORK_ADDRESS, {"user__ip": "2001:db8::7"}),
        ("url", Reason.RAW_PHONE, {"page__url": "https://x.example/+12133734253"}),
        ("query", Reason.RAW_ADDRESS, {"properties__query": "ann\u0040example.com"}),
        ("att_status", Reason.UNKNOWN_VALUE, {"user__att_status": "authorized"}),
        ("user", Reason.UNKNOWN_MEMBER, {"user__em": HEX}),
        ("data", Reason.UNKNOWN_MEMBER, {"context": {}}),
        ("properties", Reason.UNKNOWN_MEMBER, {"properties__colour": "red"}),
        ("properties", Reason.MISPLACED_EVENT_ID, {"properties__event_id": "e-1"}),
        ("event_id", Reason.NO_EVENT_ID, {"event_id": ""}),
        ("event_time", Reason.IN_FUTURE, {"event_time": NOW_S * 1000}),
    ],
    ids=str,
)
def test_tiktok_would_take_it_and_should_not_get_it(
    platforms: FakePlatforms, client: Client, member: str, reason: Reason, changes: dict[str, Any]
) -> None:
    """The event is taken, as TikTok does, and this is noted."""
    assert client.tiktok(tiktok_event(**changes)).json()["code"] == 0

    found = {(each.member, each.reason) for each in platforms.ledger.violations()}
    assert (member, reason) in found
    assert found - {(member, reason)} <= {(member, Reason.NOT_A_DIGEST), (member, Reason.NETWORK_ADDRESS)}


@pytest.mark.parametrize(
    "changes",
    [
        {"user_data__client_user_agent": "Mozilla/5.0 (iPhone) Version/17.4.1.2 Safari/10.0.0.1"},
        {"app_data__extinfo": ["a2", "com.x", "1.2.3.4", "1.2.3.4", "10.0.19045.1", *[""] * 11]},
        {"event_source_url": "https://a.b.c.example.com/@handle/12:30?n=1.2.3&x=a%20b"},
        {"custom_data__content_name": "Class::method, 10+10, +49 30, 50% off, 1.2.3.4.5, 12:34:56"},
        {"custom_data__order_id": "12133734253"},
        {"user_data__fbc": "fb.1.1554763741205.IwAR2F4-dbP0l7Mn1IawQQGCINEz7PYXQvwjNwB_qa2ofrHyiLjcbCRxTDMgk"},
    ],
    ids=str,
)
def test_what_only_looks_like_it_is_left_alone(
    platforms: FakePlatforms, client: Client, changes: dict[str, Any]
) -> None:
    """Versions, times, short numbers and handles are no addresses."""
    assert client.meta(meta_event(**changes)).status_code == 200
    assert platforms.ledger.violations() == []


def test_an_escaped_text_is_read(platforms: FakePlatforms, client: Client) -> None:
    """An address that JSON escapes is an address."""
    body = b'{"data": [{"event_name": "x", "event_id": "e-1", "custom_data": {"n": "ann\\u0040example.com"}}]}'
    client.http.post("/v26.0/1/events", content=body, headers={"Authorization": "Bearer t"})

    assert [each.reason for each in platforms.ledger.violations()] == [Reason.RAW_ADDRESS]


def test_a_call_that_takes_nothing_is_looked_at_too(platforms: FakePlatforms, client: Client) -> None:
    """It has arrived, whatever the answer is."""
    platforms.script.add(Status(500))
    client.meta(web_event(event_source_url="https://x.example/?m=ann@example.com"))

    assert [each.reason for each in platforms.ledger.violations()] == [Reason.RAW_ADDRESS]
    assert platforms.ledger.totals()[Platform.META].violations == 1
