"""Conversions as a test writes them, and any that could turn up on the topic."""

import json
from typing import Any

from hypothesis import strategies as st

from ingest.conversion import CONVERSION_VERSION, Conversion, ConversionMeta, ConversionRecord, Platform
from ingest.forward.outcome import Skip
from ingest.forward.platforms.contract import Facts, PlatformApi
from ingest.registry.model import App, Forward, MetaForward, TikTokForward
from normalize import EMPTY, sha256_hex
from normalize.device import ZERO_ID

NOW_MS = 1_795_000_000_000
HAPPENED_MS = NOW_MS - 65_432
IDFA = "6D92078A-8246-4BA4-AE5B-76104861E7DC"
GAID = "38400000-8cf0-11bd-b23e-10b96e40000d"
EMAIL, PHONE, PHONE_PLUS = (sha256_hex(text) for text in ("ann@example.com", "12133734253", "+12133734253"))
CHINESE, CHINESE_PLUS = sha256_hex("13800000000"), sha256_hex("+8613800000000")
BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"


def app(**tiktok: Any) -> App:
    """Return an app that forwards to both platforms; `tiktok` are members of its forwarding to TikTok."""
    return App(
        id="app_demo",
        project_id="prj_demo",
        organization_id="org_demo",
        web_url="https://www.example.com/",
        forward=Forward(
            meta=MetaForward(enabled=True, dataset_id="1234567890"),
            tiktok=TikTokForward(**{"enabled": True, "event_source_id": "C4PIXEL", **tiktok}),
        ),
    )


def tiktok_app(**tiktok: Any) -> App:
    """Return an app whose conversions go to TikTok's app events."""
    return app(event_source="app", event_source_id="7123", store_app_id="id987654321", **tiktok)


def facts(
    name: str = "ViewContent",
    *,
    country_code: str | None = None,
    subdivision1_code: str | None = None,
    os_name: str | None = None,
    event_id: str = "evt-1",
    **members: Any,
) -> Facts:
    """Return a conversion of this name at both platforms with `members`, by a user whom both know."""
    meta = ConversionMeta(
        v=CONVERSION_VERSION,
        app_id="app_demo",
        project_id="prj_demo",
        organization_id="org_demo",
        received_at="2026-11-18T12:26:08.000Z",
        request_id="req_01KB000000000000000000000A",
        source="sdk",
        scheme={"email": "email/1"},
        event_id=event_id,
        country_code=country_code,
        subdivision1_code=subdivision1_code,
        os_name=os_name,
    )
    event = Conversion(
        **{
            "event": "content_open",
            "timestamp": "2026-11-18T12:25:34.568Z",
            "to": {Platform.META: name, Platform.TIKTOK: name},
            "app_user_id": "user-1",
            **members,
        }
    )
    return Facts(ConversionRecord(meta, event), HAPPENED_MS, NOW_MS)


def sent(api: PlatformApi, conversion: Facts, of: App | None = None) -> dict[str, Any]:
    """Return the event that goes to the platform."""
    event = api.event(conversion, of or app())
    assert not isinstance(event, Skip), event
    decoded: dict[str, Any] = json.loads(event)
    return decoded


RAW = ("ann@example.com", "+491511234567", "Ann%40Example.com")
"""What identifies and was not recognised before; only an app's own ids may hold it, and of those a digest goes."""

NOBODY = (ZERO_ID, ZERO_ID.replace("-", ""), "unknown", "null", "", " ")

_dirty = st.one_of(
    st.sampled_from(
        [*RAW, *NOBODY, EMPTY, EMAIL, EMAIL.upper(), IDFA, GAID, "en_US", "web", "17.5.1", "a b", "x" * 5000, "1"]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.tuples(st.sampled_from([*RAW, ZERO_ID, EMAIL]), st.text("ab /?&=.", max_size=6)).map("".join),
)
_digests = st.lists(
    st.sampled_from([EMAIL, PHONE, EMAIL.upper(), EMPTY, EMPTY.upper(), f"{PHONE}.AQYCAQIA", "", *RAW]), max_size=3
).map(tuple)
_urls = st.one_of(
    _dirty,
    st.tuples(
        st.sampled_from(["https://shop.example/a", "http://u:p@shop.example/", "https://", "ftp://x/", "https://[::1"]),
        st.sampled_from(["", "?a=1&email=ann@example.com", "?ttclid=E.C.P&x=ann%40example.com", "?s=" + EMAIL]),
        st.sampled_from(["", "#top", "#ann@example.com"]),
    ).map("".join),
)
_attributes: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(
        """app_user_id install_id platform os_version app_version build_number device_model locale timezone screen_size
        att_status user_agent idfa gaid fbc fbp fbclid ttclid ttp currency order_id content_name query""".split(),
        st.none() | _dirty,
    ),
    **dict.fromkeys("email_sha256 phone_sha256 phone_e164_sha256 phone_national_sha256".split(), _digests),
    **dict.fromkeys(("page_url", "referrer"), st.none() | _urls),
    "platform": st.sampled_from([None, "ios", "Android", "web", "unity", "flutter", "node", "macos", "unknown"]),
    "att_status": st.sampled_from([None, "authorized", "denied", "restricted", "not_determined", "unknown", "Maybe"]),
    "user_agent": st.none() | st.sampled_from([BROWSER, "curl/8.5.0", "App/1 CFNetwork/1490 Darwin/23"]) | _dirty,
    "idfa": st.none() | st.sampled_from([IDFA, ZERO_ID, "unknown", RAW[0]]),
    "gaid": st.none() | st.sampled_from([GAID, ZERO_ID, RAW[1]]),
    "value": st.none() | st.integers(-(2**70), 2**70) | st.floats(),
    "currency": st.sampled_from([None, "USD", "eur ", "XTS", "US Dollar", "€"]) | _dirty,
    "content_ids": st.lists(_dirty, max_size=3).map(tuple),
    "quantity": st.none() | st.integers(-1, 2**40),
}
_metas: dict[str, st.SearchStrategy[Any]] = {
    "country_code": st.sampled_from([None, "US", "DE"]),
    "subdivision1_code": st.sampled_from([None, "CA", "BE"]),
    "os_name": st.sampled_from([None, "iOS", "ios", "Android", "Mac OS X"]),
    "event_id": st.sampled_from(["evt-1", "1b4e28ba-2fa1-11d2-883f-0016d3cca427"]),
}
conversions = st.fixed_dictionaries(
    {}, optional={"name": st.sampled_from(["Purchase", "Search", "CompleteRegistration"]), **_attributes, **_metas}
).map(lambda members: facts(**members))
"""Any conversion, also such as the edge would never write."""

apps = st.builds(
    lambda maker, plain: maker(plain_advertising_ids=plain), st.sampled_from([app, tiktok_app]), st.booleans()
)
