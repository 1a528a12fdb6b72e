"""Conversions whose events are kept as files, to be read: what goes out, by platform.

After a change that is meant, write them anew, and read what changed:

    .venv/bin/python -m tests.ingest.forward.platforms.golden_cases
"""

import json
from pathlib import Path
from typing import Any, Final

from ingest.forward.outcome import Skip
from ingest.forward.platforms.contract import Facts, PlatformApi
from ingest.forward.platforms.meta import MetaConversions
from ingest.forward.platforms.tiktok import TikTokEvents
from tests.ingest.forward.platforms.conversions import (
    BROWSER,
    EMAIL,
    GAID,
    IDFA,
    PHONE,
    PHONE_PLUS,
    app,
    facts,
    tiktok_app,
)

FOLDER: Final = Path(__file__).parent / "golden"
APIS: Final[tuple[PlatformApi, ...]] = (
    MetaConversions("https://graph.facebook.com", "v26.0"),
    TikTokEvents("https://business-api.tiktok.com"),
)

_USER: Final[dict[str, Any]] = {
    "app_user_id": "user-1",
    "install_id": "inst_4f2c",
    "email_sha256": (EMAIL,),
    "phone_sha256": (PHONE,),
    "phone_e164_sha256": (PHONE_PLUS,),
}
_REGION: Final[dict[str, Any]] = {"country_code": "US", "subdivision1_code": "CA"}
_ORDER: Final[dict[str, Any]] = {
    "value": 19.99,
    "currency": "usd",
    "order_id": "2000000712345678",
    "content_ids": ("pro_monthly",),
    "content_name": "Pro, monthly",
    "quantity": 1,
}
_IPHONE: Final[dict[str, Any]] = {
    "platform": "ios",
    "os_version": "17.5.1",
    "app_version": "3.4.0",
    "build_number": "3400",
    "device_model": "iPhone15,2",
    "locale": "en_US",
    "timezone": "America/Los_Angeles",
    "screen_size": "1179x2556",
    "user_agent": "Shop/3400 CFNetwork/1490.0.4 Darwin/23.2.0",
}
_ANDROID: Final[dict[str, Any]] = {
    "platform": "unity",
    "os_name": "Android",
    "os_version": "14",
    "app_version": "3.4.0",
    "device_model": "Pixel 8",
    "locale": "de-DE",
    "timezone": "Europe/Berlin",
    "screen_size": "1080x2400",
    "user_agent": "Dalvik/2.1.0 (Linux; U; Android 14; Pixel 8 Build/UD1A.230803.041)",
}
_PAGE: Final[dict[str, Any]] = {
    "platform": "web",
    "user_agent": BROWSER,
    "locale": "en-GB",
    "page_url": "https://shop.example/checkout?step=2&ttclid=E.C.P.Ab-9",
    "referrer": "https://m.facebook.com/",
    "fbclid": "IwAR2F4-dbP0l7Mn1Iaw",
    "fbp": "fb.1.1794990000000.1098115397",
    "ttclid": "E.C.P.Ab-9",
    "ttp": "94e2a4e7-2fd9-4a5b",
}

CASES: Final[dict[str, Facts]] = {
    "ios_purchase_authorized": facts(
        "Purchase", **_USER, **_REGION, **_ORDER, **_IPHONE, att_status="authorized", idfa=IDFA
    ),
    "ios_purchase_denied": facts("Purchase", **_USER, **_REGION, **_ORDER, **_IPHONE, att_status="denied"),
    "android_registration_with_gaid": facts("CompleteRegistration", **_USER, **_ANDROID, country_code="DE", gaid=GAID),
    "web_purchase_with_click": facts("Purchase", **{**_USER, "install_id": None}, **_REGION, **_ORDER, **_PAGE),
    "renewal_from_a_server": facts("Subscribe", **{**_USER, "install_id": None}, **_ORDER, platform="node"),
    "search_in_an_app": facts("Search", install_id="inst_4f2c", app_user_id=None, **_IPHONE, query="running shoes"),
    "thin_user": facts("ViewContent", app_user_id=None, **_REGION, platform="web", user_agent=BROWSER,
                       page_url="https://shop.example/"),
    "purchase_without_currency": facts("Purchase", **_USER, **_IPHONE, value=5),
}  # fmt: skip
"""Each case by its name."""


def produced(api: PlatformApi, name: str) -> str:
    """Return a case's file: the event that goes to the platform, or why none does; with TikTok for both sources."""
    sources = {"": app()} if api.platform == "meta" else {"web": app(), "app": tiktok_app()}
    found = {source: api.event(CASES[name], of) for source, of in sources.items()}
    shown = {
        source: {"skipped": event} if isinstance(event, Skip) else json.loads(event) for source, event in found.items()
    }
    return json.dumps(shown.get("", shown), indent=2, ensure_ascii=False) + "\n"


def path_of(api: PlatformApi, name: str) -> Path:
    """Return where a case's file is."""
    return FOLDER / f"{api.platform}_{name}.json"


if __name__ == "__main__":
    for kept in FOLDER.glob("*.json"):
        kept.unlink()
    for one in APIS:
        for case in CASES:
            path_of(one, case).write_text(produced(one, case), encoding="utf-8")
