"""What Meta gets; the numbers are those of the pitfalls that are known of such senders."""

from typing import Any

import pytest

from ingest.conversion import Platform
from ingest.forward.outcome import Skip
from ingest.forward.platforms.contract import Facts, PlatformApi
from ingest.forward.platforms.meta import MetaConversions
from normalize import EMPTY, sha256_hex
from normalize.device import ZERO_ID
from tests.ingest.forward.platforms.conversions import (
    BROWSER,
    EMAIL,
    GAID,
    HAPPENED_MS,
    IDFA,
    PHONE,
    PHONE_PLUS,
    app,
    facts,
    sent,
)

META: PlatformApi = MetaConversions("https://graph.example/", "v26.0")
IOS = {"platform": "ios", "os_version": "17.5.1", "install_id": "inst_1"}
ANDROID = {"platform": "android", "os_version": "14", "install_id": "inst_1"}
WEB = {"platform": "web", "page_url": "https://shop.example/cart", "user_agent": BROWSER}


def user(**members: Any) -> dict[str, Any]:
    """Return `user_data` of a conversion with `members`."""
    found: dict[str, Any] = sent(META, facts(**members))["user_data"]
    return found


def custom(name: str = "ViewContent", **members: Any) -> dict[str, Any]:
    """Return `custom_data` of a conversion with `members`."""
    found: dict[str, Any] = sent(META, facts(name, **members)).get("custom_data", {})
    return found


def skipped(conversion: Facts) -> Skip:
    """Return why a conversion is not sent."""
    found = META.event(conversion, app())
    assert isinstance(found, Skip)
    return found


def test_name_time_and_id() -> None:
    """The event has Meta's name, whole seconds (14) and, as a member of its own (15), the id that it always had."""
    event = sent(META, facts("AddToCart", event_id="A-b 1"))

    assert (event["event_name"], event["event_time"], event["event_id"]) == ("AddToCart", HAPPENED_MS // 1000, "A-b 1")
    assert isinstance(event["event_time"], int)
    assert "event_id" not in event.get("custom_data", {})


@pytest.mark.parametrize(
    ("members", "source"),
    [
        (IOS, "app"),
        (ANDROID, "app"),
        ({"platform": "iOS", "os_version": "17"}, "app"),
        ({"platform": "unity", "os_version": "17", "os_name": "iOS"}, "app"),
        ({"platform": "react-native", "os_version": "14", "os_name": "Android"}, "app"),
        ({"platform": "flutter", "os_version": "14", "gaid": GAID}, "app"),
        ({"platform": "flutter", "os_version": "17", "idfa": IDFA}, "app"),
        ({"os_version": "17", "os_name": "iOS"}, "app"),
        ({"platform": "ios"}, "system_generated"),
        ({"platform": "ios", "os_version": "unknown"}, "system_generated"),
        ({"platform": "unity", "os_version": "10", "os_name": "Windows"}, "system_generated"),
        ({"platform": "unity", "os_version": "17", "os_name": "iOS", "user_agent": BROWSER}, "system_generated"),
        ({"platform": "unity", "page_url": "https://game.example/", "user_agent": BROWSER}, "website"),
        ({"platform": "node", "os_version": "14", "os_name": "Android"}, "system_generated"),
        ({"platform": "macos", "os_version": "15"}, "system_generated"),
        ({}, "system_generated"),
        (WEB, "website"),
        ({"platform": "web"}, "website"),
    ],
)
def test_where_it_happened(members: dict[str, Any], source: str) -> None:
    """It is an app's only where system and version are known, a page's on the web, else that of no known device."""
    event = sent(META, facts(**members))

    assert event["action_source"] == source
    assert ("app_data" in event) == (source == "app")


def test_a_page() -> None:
    """A page's event has its address, where the user came from, and the browser's user agent."""
    event = sent(META, facts(**WEB, referrer="https://search.example/?q=shoes"))

    assert event["event_source_url"] == "https://shop.example/cart"
    assert event["referrer_url"] == "https://search.example/?q=shoes"
    assert event["user_data"]["client_user_agent"] == BROWSER


@pytest.mark.parametrize(
    ("platform", "members", "flag"),
    [
        ("ios", {"att_status": "authorized"}, 1),
        ("ios", {"att_status": "denied"}, 0),
        ("ios", {"att_status": "not_determined"}, 0),
        ("ios", {}, 0),
        ("android", {"gaid": GAID}, 1),
        ("android", {"gaid": ZERO_ID}, 0),
        ("android", {}, 0),
    ],
)
def test_tracking_flags(platform: str, members: dict[str, Any], flag: int) -> None:
    """The flags are numbers (9), inside of `app_data` (10); the app's own is always set."""
    event = sent(META, facts(platform=platform, os_version="9", **members))
    flags = {name: value for name, value in event["app_data"].items() if name != "extinfo"}

    assert flags == {"advertiser_tracking_enabled": flag, "application_tracking_enabled": 1}
    assert [type(value) for value in flags.values()] == [int, int]
    assert not event.keys() & {"advertiser_tracking_enabled", "application_tracking_enabled", "extinfo"}


def test_device_in_sixteen_places() -> None:
    """All that is known of the device stands in its place, the rest is empty (8)."""
    members = {
        "app_version": "1.2.3",
        "build_number": "45",
        "device_model": "iPhone15,2",
        "locale": "de-de",
        "timezone": "Europe/Berlin",
        "screen_size": "1179x2556",
    }
    known = sent(META, facts(**IOS, **members))["app_data"]["extinfo"]
    bare = sent(META, facts(platform="android", os_version="14", device_model="unknown"))["app_data"]["extinfo"]

    assert known[:8] == ["i2", "", "1.2.3", "45", "17.5.1", "iPhone15,2", "de_DE", ""]
    assert known[8:] == ["", "1179", "2556", "", "", "", "", "Europe/Berlin"]
    assert bare == ["a2", "", "", "", "14", *[""] * 11]


@pytest.mark.parametrize(("zone", "places"), [("PDT", ("PDT", "")), ("Asia/Tokyo", ("", "Asia/Tokyo"))])
def test_time_zones(zone: str, places: tuple[str, str]) -> None:
    """An abbreviation has its own place."""
    extinfo = sent(META, facts(**IOS, timezone=zone))["app_data"]["extinfo"]

    assert (extinfo[7], extinfo[15]) == places


@pytest.mark.parametrize("size", ["1179", "axb", "1179x", "\u0661x\u0662", "100000000x1", ""])
def test_screens_of_no_size(size: str) -> None:
    """What is no width and height, in ASCII digits (22), leaves both places empty."""
    assert sent(META, facts(**IOS, screen_size=size))["app_data"]["extinfo"][9:11] == ["", ""]


def test_digests_of_email_and_phone() -> None:
    """Digests are not hashed again (4), and go in lower case (5) without suffix (24); the phone's without plus (17)."""
    found = user(
        email_sha256=(EMAIL.upper(), EMAIL), phone_sha256=(f"{PHONE}.AQYCAQIA",), phone_e164_sha256=(PHONE_PLUS,)
    )

    assert (found["em"], found["ph"]) == ([EMAIL], [PHONE])
    assert PHONE_PLUS not in str(found)


@pytest.mark.parametrize("digest", [EMPTY, EMPTY.upper(), sha256_hex("unknown"), "ann@example.com", "", "ab"])
def test_digests_of_nobody(digest: str) -> None:
    """The digest of nothing (6), or of a word for it, and what is no digest are left out without a fault (7)."""
    assert user(email_sha256=(digest,), phone_sha256=(digest,)).keys() == {"external_id"}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"app_user_id": " User-1\n", "install_id": "inst_1"}, sha256_hex("User-1")),
        ({"app_user_id": None, "install_id": "inst_1"}, sha256_hex("inst_1")),
        ({"app_user_id": " ", "install_id": "inst_1"}, sha256_hex("inst_1")),
        ({"app_user_id": ZERO_ID, "install_id": "inst_1"}, sha256_hex("inst_1")),
        ({"app_user_id": f"ios:{ZERO_ID}", "install_id": "inst_1"}, sha256_hex("inst_1")),
        ({"app_user_id": "null", "install_id": "inst_1"}, sha256_hex("inst_1")),
        ({"app_user_id": EMPTY, "install_id": "inst_1"}, sha256_hex("inst_1")),
        ({"app_user_id": EMAIL.upper()}, EMAIL),
        ({"app_user_id": "1"}, sha256_hex("1")),
        ({"app_user_id": "Stra\u00dfe"}, sha256_hex("Stra\u00dfe")),
    ],
)
def test_external_id(members: dict[str, Any], expected: str) -> None:
    """The user's id, else the install's, goes as a digest: no white space around, case as it is (23), no salt (26)."""
    assert user(**members)["external_id"] == expected


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({**IOS, "idfa": IDFA, "att_status": "authorized"}, IDFA),
        ({**IOS, "idfa": IDFA, "att_status": "denied"}, None),
        ({**IOS, "idfa": IDFA}, None),
        ({**IOS, "idfa": ZERO_ID, "att_status": "authorized"}, None),
        ({**IOS, "idfa": "ann@example.com", "att_status": "authorized"}, None),
        ({**ANDROID, "gaid": GAID}, GAID),
        ({**ANDROID, "gaid": GAID, "att_status": "denied"}, None),
        ({**ANDROID, "gaid": ZERO_ID.replace("-", "")}, None),
    ],
)
def test_advertising_id(members: dict[str, Any], expected: str | None) -> None:
    """It goes in clear; none without consent (12), none that everybody has (11), and the install's stands beside it."""
    found = user(**members)

    assert found.get("madid") == expected
    assert found["anon_id"] == "inst_1"


def test_installs_are_named_for_apps_alone() -> None:
    """A page's event has no `anon_id`, and an install id that identifies goes as a digest only."""
    assert "anon_id" not in user(**WEB, install_id="inst_1")
    assert "anon_id" not in user(**{**IOS, "install_id": "ann@example.com"})


FBC = "fb.1.1795000000000.IwAR2F4-dbP0l7Mn1IawQQGCINEz7PYXQvwjNwB_qa2ofrHyiLjcbCRxTDMgk"


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"fbc": FBC, "fbclid": "other"}, FBC),
        ({"fbclid": "IwAR_AbC-9"}, f"fb.1.{HAPPENED_MS}.IwAR_AbC-9"),
        ({"fbc": "broken", "fbclid": "IwAR"}, f"fb.1.{HAPPENED_MS}.IwAR"),
        ({"fbclid": FBC}, FBC),
        ({"fbclid": "a b"}, None),
        ({"fbclid": "x" * 3000}, f"fb.1.{HAPPENED_MS}." + "x" * 3000),
        ({"fbclid": "x" * 5000}, None),
        ({}, None),
    ],
)
def test_clicks(members: dict[str, Any], expected: str | None) -> None:
    """The cookie goes as it is, else one is made of the click's id: milliseconds, case kept (21), never cut (18)."""
    assert user(**members).get("fbc") == expected


@pytest.mark.parametrize(("fbp", "kept"), [("fb.1.1795000000000.1098115397", True), ("fb.x.1.2", False)])
def test_browser_ids(fbp: str, *, kept: bool) -> None:
    """A browser's id goes as it is where it is one."""
    assert user(fbp=fbp).get("fbp") == (fbp if kept else None)


@pytest.mark.parametrize(
    ("agent", "kept"),
    [
        (BROWSER, True),
        ("Shop/7 CFNetwork/1490.0.4 Darwin/23.2.0", True),
        ("Dalvik/2.1.0 (Linux; U; Android 14; Pixel 8)", True),
        ("Nodewise/1.0", True),
        ("node", False),
        ("python-httpx/0.28.1", False),
        ("okhttp/4.12.0", False),
        ("UnityPlayer/2022.3.5f1 (UnityWebRequest/1.0)", False),
    ],
)
def test_user_agents(agent: str, *, kept: bool) -> None:
    """A device's user agent goes, that of a library never (19)."""
    assert user(user_agent=agent).get("client_user_agent") == (agent if kept else None)


def test_region() -> None:
    """Country and subdivision go as digests of their lower case; where a server stands is not where its users are."""
    region = {"country_code": "US", "subdivision1_code": "CA"}
    found = user(**region)

    assert (found["country"], found["st"]) == (sha256_hex("us"), sha256_hex("ca"))
    assert user(**region, platform="node", user_agent=BROWSER).keys() == {"external_id"}
    assert "client_ip_address" not in found


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"country_code": "US", "subdivision1_code": "CA", "user_agent": BROWSER},
        {"email_sha256": (EMPTY,), "install_id": ZERO_ID, "user_agent": BROWSER, "platform": "web"},
    ],
)
def test_too_little_to_find_anybody(members: dict[str, Any]) -> None:
    """With what many share alone nothing is sent (20)."""
    assert skipped(facts(app_user_id=None, **members)) is Skip.NO_USER


@pytest.mark.parametrize("members", [{"fbp": "fb.1.1795000000000.1"}, {"install_id": "i"}, {"email_sha256": (EMAIL,)}])
def test_enough_to_find_somebody(members: dict[str, Any]) -> None:
    """One key that is a single user's is enough."""
    assert sent(META, facts(app_user_id=None, country_code="US", **members))


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"currency": "USD"}, Skip.NO_VALUE),
        ({"value": float("nan"), "currency": "USD"}, Skip.NO_VALUE),
        ({"value": float("inf"), "currency": "USD"}, Skip.NO_VALUE),
        ({"value": True, "currency": "USD"}, Skip.NO_VALUE),
        ({"value": -1, "currency": "USD"}, Skip.NO_VALUE),
        ({"value": 1}, Skip.NO_CURRENCY),
        ({"value": 1, "currency": "XTS"}, Skip.NO_CURRENCY),
        ({"value": 1, "currency": "US Dollar"}, Skip.NO_CURRENCY),
        ({"value": 1, "currency": "u\u017fd"}, Skip.NO_CURRENCY),
    ],
)
def test_purchases_without_worth(members: dict[str, Any], reason: Skip) -> None:
    """A purchase without a value and a currency that exists is not sent (13); any other event is, without both."""
    assert skipped(facts("Purchase", **members)) is reason
    assert not custom("Subscribe", **members).keys() & {"value", "currency"}


@pytest.mark.parametrize("value", [0, 9.99, 12345678901234567890])
def test_worth(value: float) -> None:
    """Values go as numbers, currencies in capitals (13)."""
    assert custom("Purchase", value=value, currency=" eur") == {"value": value, "currency": "EUR"}


def test_what_it_was_about() -> None:
    """Ids of contents, their number, name, order and search have their members."""
    assert custom(content_ids=("sku-1",), quantity=2, content_name="Shoe", order_id="o-1", query="red shoes") == {
        "content_ids": ["sku-1"],
        "content_type": "product",
        "contents": [{"id": "sku-1", "quantity": 2}],
        "content_name": "Shoe",
        "num_items": 2,
        "order_id": "o-1",
        "search_string": "red shoes",
    }


def test_a_number_of_several_contents() -> None:
    """How many of which is not known of several contents."""
    found = custom(content_ids=("a", "b"), quantity=3)

    assert (found["content_ids"], found["num_items"]) == (["a", "b"], 3)
    assert "contents" not in found


@pytest.mark.parametrize("text", ["ann@example.com", f"sha256:{EMAIL}", EMAIL.upper(), ZERO_ID, "+4915112345678"])
def test_nothing_that_identifies_stands_elsewhere(text: str) -> None:
    """Addresses, numbers and ids stand in `user_data` and nowhere else, not even as digests."""
    assert custom(content_ids=(text,), content_name=text, order_id=text, query=f"by {text}") == {}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://shop.example/Cart?Step=2#Top", "https://shop.example/Cart?Step=2#Top"),
        ("https://ann:word@shop.example/", "https://shop.example/"),
        (f"https://shop.example/?a=1&email_sha256={EMAIL}&b=2", "https://shop.example/?a=1&b=2"),
        ("https://shop.example/?to=ann%40example.com#ann@example.com", "https://shop.example/"),
        (f"https://shop.example/u/{EMAIL}/cart?a=1", "https://shop.example/?a=1"),
        ("https://shop.example/?FBCLID=Ab&ttclid=E.C&gclid=x", "https://shop.example/?FBCLID=Ab"),
        ("file:///index.html", None),
        ("https://[::1", None),
        ("https://", None),
        ("cart", None),
    ],
)
def test_addresses_of_pages(url: str, expected: str | None) -> None:
    """A page's address goes without the parts of it that identify, and without the click ids of others."""
    assert sent(META, facts(platform="web", page_url=url)).get("event_source_url") == expected


def test_the_call() -> None:
    """The token stands in a header, the events unchanged in the body."""
    call = META.call(app(), "token-1", [b'{"a":1}', b'{"b":2}'])

    assert call.url == "https://graph.example/v26.0/1234567890/events"
    assert call.headers == {"Authorization": "Bearer token-1", "Content-Type": "application/json"}
    assert call.body == b'{"data":[{"a":1},{"b":2}]}'
    assert META.call(app(), "t", [b"{}"], 'TEST"1').body == b'{"data":[{}],"test_event_code":"TEST\\"1"}'


def test_what_the_worker_asks() -> None:
    """Events are let go an hour before Meta would refuse a whole call because of one (1)."""
    assert META.platform is Platform.META
    assert META.age_ms_max == (7 * 24 - 1) * 3_600_000
    assert META.events_max == 200
