"""Laws of what platforms get, for anything that could stand on the topic."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given, settings

from ingest.conversion import Platform
from ingest.forward.outcome import Skip
from ingest.forward.platforms.contract import Facts, PlatformApi
from ingest.forward.platforms.meta import TOO_LITTLE, MetaConversions
from ingest.forward.platforms.tiktok import MATCHING, TikTokEvents
from ingest.registry.model import App
from normalize import EMPTY, sha256_hex
from normalize.device import ZERO_ID
from tests.ingest.forward.platforms.conversions import HAPPENED_MS, RAW, apps, conversions

thorough = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])

META, TIKTOK = MetaConversions("https://graph.example", "v26.0"), TikTokEvents("https://tiktok.example")
BARE_ZERO_ID = ZERO_ID.replace("-", "")
NEVER = (
    *(text.lower() for text in RAW),
    *(ZERO_ID, BARE_ZERO_ID, EMPTY, sha256_hex(ZERO_ID), sha256_hex(BARE_ZERO_ID)),
)
USER = {Platform.META: "user_data", Platform.TIKTOK: "user"}
ADDRESSES = {"ip", "client_ip_address", "ip_address"}

digest = re.compile(r"[0-9A-Fa-f]{64}")


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Walk over everything in a JSON value that is no object or array, with the names above it."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, path)
    else:
        yield path, value


both = pytest.mark.parametrize("api", [META, TIKTOK], ids=lambda api: api.platform)


@both
@thorough
@given(conversions, apps)
def test_nobody_is_named_in_clear(api: PlatformApi, conversion: Facts, app: App) -> None:
    """No raw address or number, nothing that is everybody's, no upper-case digest, and no digest but the user's."""
    event = api.event(conversion, app)
    if isinstance(event, Skip):
        return
    for path, value in leaves(json.loads(event)):
        if not isinstance(value, str):
            continue
        text = unquote(value).lower()
        assert not [each for each in NEVER if each in text]
        assert not ADDRESSES & set(path)
        found = digest.search(value)
        if found:
            assert path[0] == USER[api.platform]
            assert found[0] == value == value.lower()


@both
@thorough
@given(conversions, apps)
def test_types_are_fixed(api: PlatformApi, conversion: Facts, app: App) -> None:
    """No null, no boolean, and no empty text but in Meta's list of places; time is in seconds, the id unchanged."""
    event = api.event(conversion, app)
    if isinstance(event, Skip):
        return
    decoded = json.loads(event)

    for path, value in leaves(decoded):
        assert value is not None
        assert not isinstance(value, bool)
        assert value != "" or path == ("app_data", "extinfo")
    assert decoded["event_time"] == HAPPENED_MS // 1000
    assert decoded["event_id"] == conversion.record.meta.event_id


@thorough
@given(conversions, apps)
def test_meta_takes_it(conversion: Facts, app: App) -> None:
    """What is sent is nothing of which is known that Meta would refuse the whole call for it."""
    event = META.event(conversion, app)
    if isinstance(event, Skip):
        return
    decoded = json.loads(event)

    assert not decoded["user_data"].keys() <= TOO_LITTLE
    if decoded["event_name"] == "Purchase":
        assert decoded["custom_data"].keys() >= {"value", "currency"}
    assert (decoded["action_source"] == "app") == ("app_data" in decoded)
    if "app_data" in decoded:
        extinfo = decoded["app_data"]["extinfo"]
        assert [type(each) for each in extinfo] == [str] * 16
        assert extinfo[0] in {"a2", "i2"}
        assert extinfo[4]
        assert {type(decoded["app_data"][f"{who}_tracking_enabled"]) for who in ("advertiser", "application")} == {int}
    if conversion.record.event.att_status != "authorized":
        assert "idfa" not in decoded["user_data"]
        assert decoded["user_data"].get("madid") in {None, conversion.record.event.gaid}


@thorough
@given(conversions, apps)
def test_tiktok_can_match_it(conversion: Facts, app: App) -> None:
    """What is sent has a key by which one user can be found, and the page or the app that its source must have."""
    event = TIKTOK.event(conversion, app)
    if isinstance(event, Skip):
        return
    decoded = json.loads(event)

    assert decoded["user"].keys() & MATCHING
    assert app.forward.tiktok
    assert {"page", "app"} & decoded.keys() == {"page" if app.forward.tiktok.event_source == "web" else "app"}
    if conversion.record.event.att_status != "authorized":
        assert "idfa" not in decoded["user"]
