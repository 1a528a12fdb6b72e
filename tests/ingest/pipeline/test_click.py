"""A click: what of a link's query is kept, where it leads, and that nothing of the request chooses the place."""

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest

from ingest.event import EventRecord
from ingest.pipeline.click import (
    PARAMETERS,
    REFERRER_CHARS_MAX,
    VALUE_CHARS_MAX,
    Target,
    choose,
    location,
    parameters_of,
    process_click,
)
from ingest.pipeline.request import Limits, Region
from ingest.registry.model import App
from normalize import email_digest
from tests.ingest.pipeline.batches import LIMITS, request

IOS, PLAY, SITE = "https://apps.example/1", "https://play.example/details?id=a", "https://shop.example/"
URLS = {"store_url_ios": IOS, "store_url_android": PLAY, "web_url": SITE}


def app(**urls: str) -> App:
    """Return an app with these targets."""
    return App(id="app_demo", project_id="p", organization_id="o", **urls)  # type: ignore[arg-type]


def referrer(url: str) -> dict[str, str]:
    """Return what the store would hand to the app."""
    (value,) = [value for name, value in parse_qsl(urlsplit(url).query) if name == "referrer"]
    return dict(parse_qsl(value))


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        (b"", {}),
        (b"utm_source=a&utm_campaign=b+c%2Fd&gclid=x", {"utm_source": "a", "utm_campaign": "b c/d", "gclid": "x"}),
        (b"UTM_Source=a&utm_source=b", {"utm_source": "a"}),
        (b"utm_source=&utm_source=b", {"utm_source": "b"}),
        (b"url=https://evil.example&redirect=x&utm_other=1&session=s&user_id=u&ip=1.2.3.4&email=a@b.c", {}),
        (b"utm_term=%ff%c3%a9\xe2\x82\xac", {"utm_term": "\ufffdé€"}),
        (b"utm_source=a;utm_medium=b", {"utm_source": "a;utm_medium=b"}),
        (b"utm_source=" + b"x" * VALUE_CHARS_MAX, {"utm_source": "x" * VALUE_CHARS_MAX}),
        (b"utm_source=" + b"x" * (VALUE_CHARS_MAX + 1), {}),
        (b"&&==&utm_source&%=", {}),
        (b"utm_content=a%0d%0ab%00", {"utm_content": "a\r\nb\0"}),
    ],
)
def test_only_the_campaign_and_click_ids_are_kept(query: bytes, kept: dict[str, str]) -> None:
    """In any spelling of their names, the first that says something, none that is too long."""
    assert parameters_of(query) == kept


def test_every_click_id_is_known() -> None:
    """All parameters are kept, in one order."""
    query = "&".join(f"{name}=v" for name in reversed(PARAMETERS)).encode()
    assert list(parameters_of(query)) == list(PARAMETERS)
    assert {"fbclid", "gclid", "gbraid", "wbraid", "ttclid", "msclkid", "rclid", "twclid"} < set(PARAMETERS)
    assert {"li_fat_id", "sclid", "irclickid", "utm_source", "utm_term"} < set(PARAMETERS)


@pytest.mark.parametrize(
    ("system", "given", "target"),
    [
        ("iOS", URLS, Target.IOS),
        ("Android", URLS, Target.ANDROID),
        ("Windows", URLS, Target.WEB),
        (None, URLS, Target.WEB),
        ("iOS", {"store_url_android": PLAY, "web_url": SITE}, Target.WEB),
        ("iOS", {"store_url_android": PLAY}, Target.ANDROID),
        ("Android", {"store_url_ios": IOS, "web_url": SITE}, Target.WEB),
        ("Android", {"store_url_ios": IOS}, Target.IOS),
        ("Linux", {"store_url_ios": IOS, "store_url_android": PLAY}, Target.IOS),
        (None, {"store_url_android": PLAY}, Target.ANDROID),
    ],
)
def test_the_system_chooses_among_the_apps_own(system: str | None, given: dict[str, str], target: Target) -> None:
    """Its own store, else the site, else whatever there is."""
    url = {Target.IOS: IOS, Target.ANDROID: PLAY, Target.WEB: SITE}[target]
    assert choose(app(**given), system) == (target, url)
    assert choose(app(), system) is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (PLAY, PLAY + "&referrer=utm_source%3Da%2526b%26gclid%3Dx"),
        ("https://play.example/a", "https://play.example/a?referrer=utm_source%3Da%2526b%26gclid%3Dx"),
        ("https://play.example/a?", "https://play.example/a?referrer=utm_source%3Da%2526b%26gclid%3Dx"),
        ("https://play.example/a?b&", "https://play.example/a?b&referrer=utm_source%3Da%2526b%26gclid%3Dx"),
        ("https://play.example/a#top", "https://play.example/a?referrer=utm_source%3Da%2526b%26gclid%3Dx#top"),
        ("https://play.example/a?referrer=own", "https://play.example/a?referrer=own"),
        ("https://play.example/a?referrer=", "https://play.example/a?referrer="),
        (
            "https://play.example/a?x=referrer#?",
            "https://play.example/a?x=referrer&referrer=utm_source%3Da%2526b%26gclid%3Dx#?",
        ),
    ],
)
def test_android_gets_the_parameters_as_its_referrer(url: str, expected: str) -> None:
    """Encoded once more, beside what the URL has, and never in the place of its own."""
    parameters = {"utm_source": "a&b", "gclid": "x"}
    assert location(Target.ANDROID, url, parameters) == expected
    assert location(Target.ANDROID, url, {}) == url
    assert [location(target, url, parameters) for target in (Target.IOS, Target.WEB)] == [url, url]


def test_what_does_not_fit_into_the_referrer_is_left_out() -> None:
    """Whole parameters, from the end; the first ones stay."""
    parameters = {"utm_source": "a", "utm_medium": "é" * 300, "gclid": "x" * 512}
    url = location(Target.ANDROID, PLAY, parameters)

    assert referrer(url) == {"utm_source": "a"}
    assert len(url) <= len(PLAY) + REFERRER_CHARS_MAX + 20
    assert referrer(location(Target.ANDROID, PLAY, {"gclid": "x" * 512})) == {"gclid": "x" * 512}


def test_a_location_is_one_clean_header() -> None:
    """Line ends, quotes and what is not ASCII are encoded, in the app's own URL as well."""
    odd = 'https://shop.example/ü\\"<>\0\x7f?a=%20b[1]'
    assert location(Target.WEB, odd, {}) == "https://shop.example/%C3%BC%5C%22%3C%3E%00%7F?a=%20b[1]"
    told = location(Target.ANDROID, PLAY, {"utm_source": "a\r\nSet-Cookie: b\0"})
    assert told.isascii()
    assert told.isprintable()
    assert referrer(told) == {"utm_source": "a\r\nSet-Cookie: b\0"}


def recorded(parameters: dict[str, str], limits: Limits = LIMITS, **sender: Any) -> list[EventRecord]:
    """Return the records of a click."""
    done = process_click("clk_1", Target.IOS, parameters, request("203.0.113.7", **sender), limits)
    return [msgspec.json.decode(record.value, type=EventRecord, strict=True) for record in done.records]


def test_a_record_holds_the_click_and_nobody() -> None:
    """Parameters, target, region and parsed agent; an address that stands in a parameter goes as everywhere."""
    (record,) = recorded(
        {"utm_source": "mail", "utm_content": "ann@b.c", "utm_term": "from 203.0.113.7", "gclid": "x"},
        region=Region("DE", "BE"),
    )

    assert record.event["utm_content"] == f"sha256:{email_digest('ann@b.c')}"
    assert "203.0.113.7" not in str(record.event)
    assert {name: record.event[name] for name in ("utm_source", "gclid", "target", "event_id", "app_id")} == {
        "utm_source": "mail",
        "gclid": "x",
        "target": "ios",
        "event_id": "clk_1",
        "app_id": "app_demo",
    }
    assert (record.meta.event_id, record.meta.country_code) == ("clk_1", "DE")
    assert record.event["timestamp"] == record.meta.received_at


def test_a_click_too_large_has_no_record() -> None:
    """Where the bound of an event is smaller than what a link may carry."""
    assert recorded({"utm_source": "x" * 300}, LIMITS._replace(event_bytes_max=256)) == []
