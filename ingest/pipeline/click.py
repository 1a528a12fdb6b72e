"""A click on a paid-media link: what of it is kept, and where it leads. Nothing of the request chooses the place."""

import enum
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from ingest.event import Decoded, JsonObject, Processed, ValidEvent
from ingest.outcome import Fault
from ingest.pipeline.process import process
from ingest.pipeline.request import Limits, Request
from ingest.registry.model import App

CAMPAIGN: Final = (
    *("utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term", "utm_id"),
    *("utm_source_platform", "utm_creative_format", "utm_marketing_tactic"),
)
CLICK_IDS: Final = (
    *("fbclid", "gclid", "gbraid", "wbraid", "ttclid", "msclkid", "rclid", "twclid", "li_fat_id", "sclid", "irclickid"),
)
PARAMETERS: Final = CAMPAIGN + CLICK_IDS
"""All that is kept of a link's query, in the order in which it is handed on."""

VALUE_CHARS_MAX: Final = 512
"""Of one parameter; a longer one is left out, because half an id is none."""

REFERRER_CHARS_MAX: Final = 2048
"""Of what is handed to the store, encoded; parameters that do not fit are left out."""

_KNOWN: Final = frozenset(PARAMETERS)
_REFERRER: Final = "referrer"
# What may stand in a URL as it is; line ends, quotes, backslashes and what is not ASCII may not.
_URL_CHARACTERS: Final = "%/:?#[]@!$&'()*+,;=-._~"


class Target(enum.StrEnum):
    """Where a click can lead: to one of an app's stores, or to its site."""

    IOS = "ios"
    ANDROID = "android"
    WEB = "web"


_BY_SYSTEM: Final[Mapping[str, tuple[Target, ...]]] = {
    "ios": (Target.IOS, Target.WEB, Target.ANDROID),
    "android": (Target.ANDROID, Target.WEB, Target.IOS),
}
_ELSEWHERE: Final = (Target.WEB, Target.IOS, Target.ANDROID)


def parameters_of(query: bytes) -> dict[str, str]:
    """Return the campaign parameters and click ids in a query, of those that stand there twice the first."""
    found: dict[str, str] = {}
    for name, value in parse_qsl(query.decode(errors="replace"), errors="replace"):
        known = name.lower()
        if known in _KNOWN and value and len(value) <= VALUE_CHARS_MAX:
            found.setdefault(known, value)
    return {name: found[name] for name in PARAMETERS if name in found}


def choose(app: App, system: str | None) -> tuple[Target, str] | None:
    """Return where a click leads on an operating system, and the URL as the app has it; None where it has none."""
    urls = {Target.IOS: app.store_url_ios, Target.ANDROID: app.store_url_android, Target.WEB: app.web_url}
    for target in _BY_SYSTEM.get((system or "").lower(), _ELSEWHERE):
        url = urls[target]
        if url is not None:
            return target, url
    return None


def location(target: Target, url: str, parameters: Mapping[str, str]) -> str:
    """Return the value of `Location`: the URL, for Android with the parameters as `referrer` unless it has one."""
    if target is Target.ANDROID and not _has_referrer(url) and (referrer := _referrer(parameters)):
        page, mark, fragment = url.partition("#")
        joint = "" if page.endswith(("?", "&")) else "&" if "?" in page else "?"
        url = f"{page}{joint}{_REFERRER}={referrer}{mark}{fragment}"
    return quote(url, safe=_URL_CHARACTERS)


def process_click(
    click_id: str, target: Target, parameters: Mapping[str, str], request: Request, limits: Limits
) -> Processed:
    """Return the record of a click; none where it is larger than an event may be. Values follow the identity rules."""
    click: JsonObject = {
        "event_id": click_id,
        "timestamp": request.received_at,
        "app_id": request.app.id,
        "target": target.value,
        **parameters,
    }
    return process(Decoded([click], request.app.id, None, None, {}), request, limits, _as_made_here)


def _as_made_here(click: Any, _: str) -> ValidEvent | Fault:
    return ValidEvent(click)


def _has_referrer(url: str) -> bool:
    return any(name == _REFERRER for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True))


def _referrer(parameters: Mapping[str, str]) -> str:
    """Return the parameters as one value: a query of its own, encoded once more."""
    return quote("&".join(_fitting(parameters)), safe="")


def _fitting(parameters: Mapping[str, str]) -> Iterator[str]:
    room = REFERRER_CHARS_MAX
    for item in parameters.items():
        part = urlencode([item])
        room -= len(quote(f"&{part}", safe=""))
        if room < 0:
            return
        yield part
