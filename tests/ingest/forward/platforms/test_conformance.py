"""What goes out, held against the platforms' own types: Meta's package, and a schema written from TikTok's facts."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from facebook_business.adobjects.serverside.action_source import ActionSource
from facebook_business.adobjects.serverside.app_data import AppData
from facebook_business.adobjects.serverside.content import Content
from facebook_business.adobjects.serverside.custom_data import CustomData
from facebook_business.adobjects.serverside.event import Event
from facebook_business.adobjects.serverside.extended_device_info import ExtendedDeviceInfo
from facebook_business.adobjects.serverside.user_data import UserData
from hypothesis import HealthCheck, given, settings

from ingest.forward.outcome import Skip
from ingest.forward.platforms.contract import Facts
from ingest.forward.platforms.meta import MetaConversions
from ingest.forward.platforms.tiktok import TikTokEvents
from ingest.registry.model import App
from tests.ingest.forward.platforms.conversions import app, apps, conversions, facts
from tests.ingest.forward.platforms.golden_cases import CASES

thorough = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])

META = MetaConversions("https://graph.example", "v26.0")
TIKTOK = TikTokEvents("https://tiktok.example")
SCHEMA = jsonschema_rs.validator_for(
    json.loads((Path(__file__).parent / "tiktok.schema.json").read_text(encoding="utf-8"))
)

KEYS = {
    "em": "emails",
    "ph": "phones",
    "external_id": "external_ids",
    "country": "country_codes",
    "st": "states",
}
"""Members of `user_data` that the package takes as lists, with its names for them."""


def as_lists(user: dict[str, Any]) -> dict[str, Any]:
    """Return `user_data` as the package would write it: lists, in no order."""
    return {
        name: sorted([value] if isinstance(value, str) else value) if name in KEYS else value
        for name, value in user.items()
    }


def as_meta_has_it(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event, taken apart and written again by Meta's own types."""
    parts = dict(event)
    user = UserData(**{KEYS.get(name, name): value for name, value in as_lists(parts.pop("user_data")).items()})
    custom = parts.pop("custom_data", None)
    if custom is not None:
        contents = [Content(each["id"], each["quantity"]) for each in custom.get("contents", [])]
        custom = CustomData(**{**custom, "contents": contents or None})
    device = parts.pop("app_data", None)
    if device is not None:
        device = AppData(**{**device, "extinfo": ExtendedDeviceInfo(*device["extinfo"])})
    action_source = ActionSource(parts.pop("action_source"))
    written: dict[str, Any] = Event(
        **parts, action_source=action_source, user_data=user, custom_data=custom, app_data=device
    ).normalize()
    return {**written, "user_data": as_lists(written["user_data"])}


def check_meta(conversion: Facts) -> None:
    """Hold a conversion's event against the package's. It writes currencies in lower case; both are accepted."""
    found = META.event(conversion, app())
    if isinstance(found, Skip):
        return
    event = json.loads(found)
    expected = {**event, "user_data": as_lists(event["user_data"])}
    if "currency" in event.get("custom_data", {}):
        expected["custom_data"] = {**event["custom_data"], "currency": event["custom_data"]["currency"].lower()}

    assert as_meta_has_it(event) == expected


def check_tiktok(conversion: Facts, of: App) -> None:
    """Hold a conversion's call against the schema."""
    found = TIKTOK.event(conversion, of)
    if isinstance(found, Skip):
        return
    call = json.loads(TIKTOK.call(of, "token", [found], "TEST").body)

    assert [error.message for error in SCHEMA.iter_errors(call)] == []


@pytest.mark.parametrize("name", CASES)
def test_meta_would_write_the_same(name: str) -> None:
    """Meta's package makes of each part of an event what we send."""
    check_meta(CASES[name])


@thorough
@given(conversions)
def test_meta_would_write_the_same_of_anything(conversion: Facts) -> None:
    """No conversion becomes an event that Meta's types do not know."""
    check_meta(conversion)


@thorough
@given(conversions, apps)
def test_tiktok_calls_fit(conversion: Facts, of: App) -> None:
    """No conversion becomes a call that does not fit the schema."""
    check_tiktok(conversion, of)


@pytest.mark.parametrize(
    "broken",
    [
        {"event_time": 1_795_000_000_000},
        {"user": {"user_agent": "x"}},
        {"user": {"email": "AB" * 32}},
        {"user": {"external_id": "user-1"}},
        {"user": {"external_id": "ab" * 32, "ip": "203.0.113.7"}},
        {"properties": {"content_ids": [1001], "contents": [{"content_id": 1001}], "content_type": "product"}},
        {"properties": {"value": 5}},
        {"page": {}},
        {"app": {"app_id": "id1"}},
    ],
)
def test_the_schema_refuses(broken: dict[str, Any]) -> None:
    """The schema sees what TikTok would refuse, or take and never match."""
    event = json.loads(TIKTOK.event(facts(), app()))
    envelope = {"event_source": "web", "event_source_id": "C4PIXEL"}

    assert SCHEMA.is_valid({**envelope, "data": [event]})
    assert not SCHEMA.is_valid({**envelope, "data": [{**event, **broken}]})
