"""What TikTok gets."""

import json
from typing import Any

import pytest

from ingest.conversion import Platform
from ingest.forward.outcome import Skip
from ingest.forward.platforms.contract import Facts, PlatformApi
from ingest.forward.platforms.tiktok import TikTokEvents
from ingest.registry.model import App
from normalize import EMPTY, sha256_hex
from normalize.device import ZERO_ID
from tests.ingest.forward.platforms.conversions import (
    BROWSER,
    CHINESE,
    CHINESE_PLUS,
    EMAIL,
    GAID,
    HAPPENED_MS,
    IDFA,
    PHONE,
    PHONE_PLUS,
    app,
    facts,
    sent,
    tiktok_app,
)

TIKTOK: PlatformApi = TikTokEvents("https://tiktok.example/")
IOS = {"platform": "ios", "os_version": "17.5.1", "install_id": "inst_1"}
WEB = {"platform": "web", "page_url": "https://shop.example/cart", "user_agent": BROWSER}


def user(of: App | None = None, **members: Any) -> dict[str, Any]:
    """Return `user` of a conversion with `members`."""
    found: dict[str, Any] = sent(TIKTOK, facts(**members), of)["user"]
    return found


def properties(name: str = "ViewContent", **members: Any) -> dict[str, Any]:
    """Return `properties` of a conversion with `members`."""
    found: dict[str, Any] = sent(TIKTOK, facts(name, **members)).get("properties", {})
    return found


def skipped(conversion: Facts, of: App | None = None) -> Skip:
    """Return why a conversion is not sent."""
    found = TIKTOK.event(conversion, of or app())
    assert isinstance(found, Skip)
    return found


def test_name_time_and_id() -> None:
    """The event has TikTok's name, whole seconds, and the id that it always had."""
    event = sent(TIKTOK, facts("AddToCart", event_id="A-b 1"))

    assert (event["event"], event["event_time"], event["event_id"]) == ("AddToCart", HAPPENED_MS // 1000, "A-b 1")
    assert isinstance(event["event_time"], int)


@pytest.mark.parametrize(
    ("name", "in_app"),
    [
        ("CompleteRegistration", "Registration"),
        ("InitiateCheckout", "Checkout"),
        ("Lead", "GenerateLead"),
        ("CompletePayment", "Purchase"),
        ("Purchase", "Purchase"),
        ("AddToCart", "AddToCart"),
        ("Registration", "Registration"),
        ("my_own", "my_own"),
    ],
)
def test_names_in_apps(name: str, in_app: str) -> None:
    """A source of app events knows some events by other names; a source `web` gets them as they are."""
    assert sent(TIKTOK, facts(name, **IOS), tiktok_app())["event"] == in_app
    assert sent(TIKTOK, facts(name, **IOS))["event"] == name


def test_digests_of_email_and_phone() -> None:
    """Digests go as they are, in lower case; of phones that of the text with a plus, and no other."""
    found = user(
        email_sha256=(EMAIL.upper(),), phone_sha256=(PHONE,), phone_e164_sha256=(PHONE_PLUS,), app_user_id="user-1"
    )

    assert found == {"email": EMAIL, "phone": PHONE_PLUS, "external_id": sha256_hex("user-1")}
    assert user(email_sha256=(EMAIL, PHONE))["email"] == [EMAIL, PHONE]
    assert user(email_sha256=(EMPTY,), phone_sha256=(PHONE,)).keys() == {"external_id"}


def test_numbers_of_calling_code_86() -> None:
    """They go without code and plus; beside numbers of other countries nothing tells them apart, and all go."""
    chinese: dict[str, Any] = {"phone_e164_sha256": (CHINESE_PLUS,), "phone_national_sha256": (CHINESE,)}
    both: dict[str, Any] = {"phone_e164_sha256": (CHINESE_PLUS, PHONE_PLUS), "phone_national_sha256": (CHINESE,)}

    assert user(**chinese)["phone"] == CHINESE
    assert user(**both)["phone"] == [CHINESE, CHINESE_PLUS, PHONE_PLUS]


@pytest.mark.parametrize("source", [app, tiktok_app])
def test_advertising_ids(source: Any) -> None:
    """They go as digests of their lower case, in clear where the app says so, and never without consent."""
    ios = {**IOS, "idfa": IDFA, "att_status": "authorized"}
    android = {"platform": "android", "os_version": "14", "gaid": GAID.upper()}

    assert user(source(), **ios)["idfa"] == sha256_hex(IDFA.lower())
    assert user(source(), **android)["gaid"] == sha256_hex(GAID)
    assert user(source(plain_advertising_ids=True), **ios)["idfa"] == IDFA
    assert user(source(plain_advertising_ids=True), **android)["gaid"] == GAID.upper()
    assert "idfa" not in user(source(), **{**ios, "att_status": "denied"})
    assert "idfa" not in user(source(), **{**ios, "idfa": ZERO_ID})


@pytest.mark.parametrize(
    ("members", "status"),
    [
        ({**IOS, "att_status": "authorized"}, "AUTHORIZED"),
        ({**IOS, "att_status": "denied"}, "DENIED"),
        ({**IOS, "att_status": "restricted"}, "RESTRICTED"),
        ({**IOS, "att_status": "not_determined"}, "NOT_DETERMINED"),
        ({**IOS, "att_status": "unknown"}, None),
        (IOS, None),
        ({"platform": "android", "os_version": "14"}, "NOT_APPLICABLE"),
        ({**WEB, "att_status": "denied"}, None),
    ],
)
def test_att_status(members: dict[str, Any], status: str | None) -> None:
    """TikTok's word for what the user answered; on Android there is no such question, and on pages no such member."""
    assert user(**members).get("att_status") == status


def test_clicks_agents_and_locales() -> None:
    """Click ids go untouched and uncut, the agent of a device as it is, the locale in its normal form."""
    click = "E.C.P." + "aB-_" * 200
    found = user(ttclid=click, ttp="0a0863ec-7da2-4a5b", user_agent=BROWSER, locale="pt_br", fbclid="x")

    assert (found["ttclid"], found["ttp"]) == (click, "0a0863ec-7da2-4a5b")
    assert (found["user_agent"], found["locale"]) == (BROWSER, "pt-BR")
    assert not {"ip", "fbclid"} & found.keys()
    assert "user_agent" not in user(user_agent="okhttp/4.12.0")


@pytest.mark.parametrize(
    "members",
    [{}, {"user_agent": BROWSER, "locale": "en_US", "country_code": "US"}, {"email_sha256": (EMPTY,), "ttclid": " "}],
)
def test_too_little_to_find_anybody(members: dict[str, Any]) -> None:
    """What can be matched with nobody is not sent."""
    assert skipped(facts(app_user_id=None, **members)) is Skip.NO_USER


@pytest.mark.parametrize("members", [{"ttclid": "E.C.P"}, {"ttp": "0a08"}, {"install_id": "i"}])
def test_enough_to_find_somebody(members: dict[str, Any]) -> None:
    """One key that is a single user's is enough."""
    assert sent(TIKTOK, facts(app_user_id=None, **members))


def test_pages() -> None:
    """A page's event has its address, ttclid included, and where the user came from; without an address it is none."""
    event = sent(
        TIKTOK,
        facts(**{**WEB, "page_url": "https://shop.example/?ttclid=E.C&fbclid=Ab"}, referrer="https://a.example/"),
    )

    assert event["page"] == {"url": "https://shop.example/?ttclid=E.C", "referrer": "https://a.example/"}
    assert "app" not in event
    assert skipped(facts(platform="web")) is Skip.NO_PAGE
    assert skipped(facts(platform="web", page_url="file:///a")) is Skip.NO_PAGE


def test_apps_at_a_source_of_pages() -> None:
    """What happens in an app goes with the app's site, else its store page; where it has none it is not sent."""
    stores = {"store_url_ios": "https://store.example/ios", "store_url_android": "https://store.example/android"}

    def url(conversion: Facts, **urls: Any) -> Any:
        of = App(id="a", project_id="p", organization_id="o", forward=app().forward, **urls)
        event = TIKTOK.event(conversion, of)
        return event if isinstance(event, Skip) else json.loads(event)["page"]["url"]

    ios, android, other = facts(**IOS), facts(platform="android"), facts(platform="unity")
    assert url(ios, web_url="https://www.example.com/", **stores) == "https://www.example.com/"
    assert [url(each, **stores) for each in (ios, android, other)] == [
        "https://store.example/ios",
        "https://store.example/android",
        "https://store.example/ios",
    ]
    assert url(facts(**IOS, page_url="https://shop.example/"), **stores) == "https://shop.example/"
    assert url(ios) is Skip.NO_PAGE


def test_apps() -> None:
    """A source of app events gets the store's name of the app and its version, and nothing that happened on a page."""
    event = sent(TIKTOK, facts(**IOS, app_version="1.2.3", page_url="https://shop.example/"), tiktok_app())

    assert event["app"] == {"app_id": "id987654321", "app_version": "1.2.3"}
    assert "page" not in event
    assert skipped(facts(**WEB), tiktok_app()) is Skip.NO_APP
    assert skipped(facts(**IOS), app(enabled=False, event_source="app")) is Skip.NO_APP


def test_properties() -> None:
    """Ids of contents are texts, and a single content has number and name."""
    found = properties(
        "Search",
        content_ids=("1001",),
        quantity=2,
        content_name="Shoe",
        order_id="o-1",
        query="red shoes",
        value=9.5,
        currency="eur",
    )

    assert found == {
        "value": 9.5,
        "currency": "EUR",
        "content_ids": ["1001"],
        "content_type": "product",
        "contents": [{"content_id": "1001", "quantity": 2, "content_name": "Shoe"}],
        "num_items": 2,
        "order_id": "o-1",
        "query": "red shoes",
        "search_string": "red shoes",
    }
    assert properties(content_ids=("a", "b"), quantity=2)["contents"] == [{"content_id": "a"}, {"content_id": "b"}]


@pytest.mark.parametrize("members", [{}, {"value": 5}, {"currency": "USD"}, {"value": 5, "currency": "XTS"}])
def test_purchases_without_worth(members: dict[str, Any]) -> None:
    """TikTok takes a purchase of no known worth, such as the start of a trial; half a worth is left out."""
    assert properties("Purchase", **members) == {}


@pytest.mark.parametrize("text", ["ann@example.com", f"sha256:{EMAIL}", EMAIL.upper(), ZERO_ID, "+4915112345678"])
def test_nothing_that_identifies_stands_elsewhere(text: str) -> None:
    """Addresses, numbers and ids stand in `user` and nowhere else, not even as digests."""
    assert properties(content_ids=(text,), content_name=text, order_id=text, query=f"by {text}") == {}


def test_the_call() -> None:
    """The token stands in a header, the events unchanged in the envelope of their source."""
    call = TIKTOK.call(app(), "token-1", [b'{"a":1}', b'{"b":2}'])

    assert call.url == "https://tiktok.example/open_api/v1.3/event/track/"
    assert call.headers == {"Access-Token": "token-1", "Content-Type": "application/json"}
    assert call.body == b'{"event_source":"web","event_source_id":"C4PIXEL","data":[{"a":1},{"b":2}]}'
    assert json.loads(TIKTOK.call(tiktok_app(), "t", [b"{}"], "TEST1").body) == {
        "event_source": "app",
        "event_source_id": "7123",
        "test_event_code": "TEST1",
        "data": [{}],
    }


def test_what_the_worker_asks() -> None:
    """TikTok names no age; what is too old for Meta is not sent there either."""
    assert TIKTOK.platform is Platform.TIKTOK
    assert TIKTOK.age_ms_max == (7 * 24 - 1) * 3_600_000
    assert TIKTOK.events_max == 200
