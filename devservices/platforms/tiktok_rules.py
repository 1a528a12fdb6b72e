"""What TikTok's Events API refuses of an event, and what is wrong with one that it takes."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from devservices.platforms.hygiene import (
    Finding,
    Reason,
    clear_findings,
    digest_findings,
    is_digest,
    text_findings,
)
from devservices.platforms.shapes import (
    Shape,
    is_boolean,
    is_currency,
    is_filled,
    is_integer,
    is_number,
    is_object,
    is_text,
    is_text_or_texts,
    is_texts,
    misfit,
    one_of,
)

SOURCES: Final = ("web", "app", "offline", "crm")
OFFLINE_AGE_S_MAX: Final = 28 * 86_400
AHEAD_S_MAX: Final = 60

_STANDARD: Final = frozenset(
    "AddPaymentInfo AddToCart AddToWishlist ApplicationApproval CompleteRegistration Contact CustomizeProduct Download"
    " FindLocation InitiateCheckout Lead Purchase Schedule Search StartTrial SubmitApplication Subscribe ViewContent"
    " CompletePayment SubmitForm PlaceAnOrder ClickButton".split()
)
_EVENT: Final[Mapping[str, Shape]] = {
    "event": is_filled,
    "event_time": is_integer,
    "event_id": is_text,
    "user": is_object,
    "properties": is_object,
    "page": is_object,
    "app": is_object,
    "ad": is_object,
    "lead": is_object,
    "limited_data_use": is_boolean,
}
_EVENT_NEEDS: Final = ("event", "event_time")

_HASHED: Final = frozenset("email phone external_id first_name last_name zip_code".split())
_ADVERTISING: Final = frozenset({"idfa", "gaid"})
_CLEAR: Final = frozenset("city state country user_agent locale ttclid ttp idfv att_status".split())
_USER: Final[Mapping[str, Shape]] = {
    **dict.fromkeys(_HASHED, is_text),
    **dict.fromkeys(("email", "phone", "external_id"), is_text_or_texts),
    **dict.fromkeys(_CLEAR | _ADVERTISING, is_text),
    "ip": is_text,
}
_ATT: Final = frozenset("AUTHORIZED DENIED NOT_DETERMINED RESTRICTED NOT_APPLICABLE".split())
_CLEAR_ID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")

_PROPERTIES: Final[Mapping[str, Shape]] = {
    "contents": lambda value: type(value) is list and all(map(is_object, value)),
    "content_ids": is_texts,
    "content_type": one_of(("product", "product_group")),
    "currency": is_currency,
    "value": is_number,
    "num_items": is_integer,
    "order_id": is_text,
    "shop_id": is_text,
    "search_string": is_text,
    "query": is_text,
    "description": is_text,
    "predicted_ltv": is_number,
    "delivery_category": is_text,
}
_CONTENT: Final[Mapping[str, Shape]] = {
    "price": is_number,
    "quantity": is_integer,
    "content_id": is_text,
    "content_category": is_text,
    "content_name": is_text,
    "content_type": is_text,
    "brand": is_text,
}
_PAGE: Final[Mapping[str, Shape]] = {"url": is_text, "referrer": is_text}
_APP: Final[Mapping[str, Shape]] = {"app_id": is_text, "app_name": is_text, "app_version": is_text}


def wrong_member(event: Any, source: str, now_s: float) -> str | None:
    """Return the path of the first member for which TikTok refuses this event, or None."""
    if type(event) is not dict:
        return "event"
    wrong = misfit(event, _EVENT)
    if wrong is not None:
        return wrong
    for name in _EVENT_NEEDS:
        if name not in event:
            return name
    for name, shapes in (("user", _USER), ("properties", _PROPERTIES), ("page", _PAGE), ("app", _APP)):
        wrong = misfit(event.get(name, {}), shapes)
        if wrong is not None:
            return f"{name}.{wrong}"
    for at, content in enumerate(event.get("properties", {}).get("contents", ())):
        wrong = misfit(content, _CONTENT)
        if wrong is not None:
            return f"properties.contents.{at}.{wrong}"
    return _wrong_for(source, event, now_s)


def findings(event: dict[str, Any], raw: bytes, now_s: float) -> Iterator[Finding]:
    """Yield what is wrong with an event whether or not TikTok would mind; `raw` is its JSON."""
    user = event.get("user")
    user = user if type(user) is dict else {}
    yield from text_findings(raw, event, user.get("user_agent"))
    if not event.get("event_id"):
        yield Finding("event_id", Reason.NO_EVENT_ID)
    if any(name not in _EVENT for name in event):
        yield Finding("data", Reason.UNKNOWN_MEMBER)
    time = event.get("event_time")
    if type(time) is int and time > now_s + AHEAD_S_MAX:
        yield Finding("event_time", Reason.IN_FUTURE)
    yield from _user_findings(user)
    for part, known in (("properties", _PROPERTIES), ("page", _PAGE), ("app", _APP)):
        content = event.get(part)
        if type(content) is dict and any(name not in known for name in content):
            misplaced = "event_id" in content
            yield Finding(part, Reason.MISPLACED_EVENT_ID if misplaced else Reason.UNKNOWN_MEMBER)
    app = event.get("app")
    if type(app) is dict:
        yield from clear_findings("app_id", app.get("app_id"))


def _user_findings(user: dict[str, Any]) -> Iterator[Finding]:
    for name, value in user.items():
        if name in _HASHED:
            yield from digest_findings(name, value)
        elif name in _CLEAR:
            yield from clear_findings(name, value)
        elif name in _ADVERTISING:  # as digest or as the device has it: the platform's own word is not known
            if type(value) is not str or not (is_digest(value) or _CLEAR_ID.fullmatch(value)):
                yield from digest_findings(name, value)
        elif name == "ip":
            yield Finding(name, Reason.NETWORK_ADDRESS)
        else:
            yield Finding("user", Reason.UNKNOWN_MEMBER)
    status = user.get("att_status")
    if status is not None and not (type(status) is str and status in _ATT):
        yield Finding("att_status", Reason.UNKNOWN_VALUE)
    if "idfa" in user and status not in (None, "AUTHORIZED"):
        yield Finding("idfa", Reason.UNPERMITTED_ID)


def _wrong_for(source: str, event: dict[str, Any], now_s: float) -> str | None:
    if source == "web" and not event.get("page", {}).get("url"):
        return "page.url"
    if source == "app" and not event.get("app", {}).get("app_id"):
        return "app.app_id"
    if source == "offline":
        if event["event"] not in _STANDARD:
            return "event"
        if int(now_s) - event["event_time"] > OFFLINE_AGE_S_MAX:
            return "event_time"
    return None
