"""What Meta's Conversions API refuses of an event, and what is wrong with one that it takes."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from devservices.platforms.hygiene import Finding, Reason, clear_findings, digest_findings, text_findings
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
from devservices.platforms.twin import Refusal

INVALID: Final = 100
TOO_OLD: Final = 2804003
NO_VALUE: Final = 2804009
NO_CURRENCY: Final = 2804010
THIN_USER: Final = 2804050

_DAY_S: Final = 86_400
AGE_S_MAX: Final = 7 * _DAY_S
STORE_AGE_S_MAX: Final = 62 * _DAY_S
AHEAD_S_MAX: Final = 60
EXTINFO_MEMBERS: Final = 16

_EVENT: Final[Mapping[str, Shape]] = {
    "event_name": is_filled,
    "event_time": is_integer,
    "action_source": one_of(
        "email website app phone_call chat physical_store system_generated business_messaging other".split()
    ),
    "event_id": is_text,
    "event_source_url": is_text,
    "referrer_url": is_text,
    "user_data": is_object,
    "custom_data": is_object,
    "app_data": is_object,
    "opt_out": is_boolean,
    "data_processing_options": is_texts,
    "data_processing_options_country": is_integer,
    "data_processing_options_state": is_integer,
    "original_event_data": is_object,
    "customer_segmentation": is_text,
    "attribution_data": is_object,
    "messaging_channel": is_text,
}
_EVENT_NEEDS: Final = ("event_name", "event_time", "action_source", "user_data")

_HASHED: Final = frozenset("em ph fn ln db ge ct st zp country external_id".split())
_CLEAR: Final = frozenset(
    "client_user_agent fbc fbp madid anon_id subscription_id page_id page_scoped_user_id ctwa_clid ig_account_id"
    " ig_sid".split()
)
_USER: Final[Mapping[str, Shape]] = {
    **dict.fromkeys(_HASHED, is_text_or_texts),
    **dict.fromkeys(_CLEAR, is_text),
    "client_ip_address": is_text,
    "fb_login_id": is_integer,
    "lead_id": is_integer,
}
_THIN: Final = (
    frozenset({"ct", "country", "st", "zp", "ge", "client_user_agent"}),
    frozenset({"db", "client_user_agent"}),
    frozenset({"fn", "ge"}),
    frozenset({"ln", "ge"}),
)

_CUSTOM: Final[Mapping[str, Shape]] = {
    "value": is_number,
    "currency": is_currency,
    "content_ids": is_texts,
    "contents": lambda value: type(value) is list and all(map(_is_content, value)),
    "content_type": one_of(("product", "product_group")),
    "content_name": is_text,
    "content_category": is_text,
    "order_id": is_text,
    "num_items": is_integer,
    "search_string": is_text,
    "status": lambda value: type(value) in (str, bool),
    "predicted_ltv": is_number,
    "net_revenue": is_number,
    "item_number": is_text,
}
_CONTENT: Final[Mapping[str, Shape]] = {
    "id": is_filled,
    "quantity": is_integer,
    "item_price": is_number,
    "delivery_category": one_of(("in_store", "curbside", "home_delivery")),
}

_APP_CLEAR: Final = frozenset({"vendor_id", "installer_package", "windows_attribution_id"})
_FLAGS: Final = ("advertiser_tracking_enabled", "application_tracking_enabled")


def refusal(event: Any, now_s: float) -> Refusal | None:
    """Return why Meta refuses this event, or None."""
    member = _wrong_member(event)
    if member is not None:
        return Refusal(INVALID, member)
    age_s = int(now_s) - event["event_time"]
    if age_s > (STORE_AGE_S_MAX if event["action_source"] == "physical_store" else AGE_S_MAX):
        return Refusal(INVALID, "event_time", TOO_OLD)
    if age_s < -AHEAD_S_MAX:
        return Refusal(INVALID, "event_time")
    if event["event_name"] == "Purchase":
        custom = event.get("custom_data", {})
        if "value" not in custom:
            return Refusal(INVALID, "value", NO_VALUE)
        if "currency" not in custom:
            return Refusal(INVALID, "currency", NO_CURRENCY)
    if _is_thin(event["user_data"]):
        return Refusal(INVALID, "user_data", THIN_USER)
    return None


def findings(event: dict[str, Any], raw: bytes) -> Iterator[Finding]:
    """Yield what is wrong with an event whether or not Meta would mind; `raw` is its JSON."""
    user = event.get("user_data")
    user = user if type(user) is dict else {}
    yield from text_findings(raw, event, user.get("client_user_agent"))
    if not event.get("event_id"):
        yield Finding("event_id", Reason.NO_EVENT_ID)
    for name, value in user.items():
        if name in _HASHED:
            yield from digest_findings(name, value)
        elif name in _CLEAR:
            yield from clear_findings(name, value)
        elif name == "client_ip_address":
            yield Finding(name, Reason.NETWORK_ADDRESS)
        elif name not in _USER:
            yield Finding("user_data", Reason.UNKNOWN_MEMBER)
    custom = event.get("custom_data")
    if type(custom) is dict:
        if "event_id" in custom:
            yield Finding("custom_data", Reason.MISPLACED_EVENT_ID)
        yield from clear_findings("currency", custom.get("currency"))
    app = event.get("app_data")
    if type(app) is dict:
        yield from _app_findings(app, user)


def _app_findings(app: dict[str, Any], user: dict[str, Any]) -> Iterator[Finding]:
    for flag in _FLAGS:
        if type(app.get(flag)) is bool:
            yield Finding(flag, Reason.BOOLEAN_FLAG)
    if "application_tracking_enabled" not in app:
        yield Finding("application_tracking_enabled", Reason.MISSING_FLAG)
    device = app.get("extinfo")
    for name in _APP_CLEAR & app.keys():
        yield from clear_findings(name, app[name])
    if type(device) is list:
        for each in device:
            if type(each) is str and len(each) == 64:
                yield from clear_findings("extinfo", each)
        if "madid" in user and device[:1] == ["i2"] and not app.get("advertiser_tracking_enabled"):
            yield Finding("madid", Reason.UNPERMITTED_ID)


def _wrong_member(event: Any) -> str | None:
    """Return the first member that is unknown, missing or of the wrong type."""
    if type(event) is not dict:
        return "data"
    for name, value in event.items():
        shape = _EVENT.get(name)
        if shape is None or not shape(value):
            return name if shape is not None else "unexpected key"
    for name in _EVENT_NEEDS:
        if name not in event:
            return name
    wrong = misfit(event["user_data"], _USER) or misfit(event.get("custom_data", {}), _CUSTOM)
    return wrong or _wrong_app_data(event) or _wrong_data_processing(event)


def _wrong_app_data(event: dict[str, Any]) -> str | None:
    app = event.get("app_data")
    if app is None:
        return "app_data" if event["action_source"] == "app" else None
    flag = _FLAGS[0]
    if event["action_source"] == "app" and flag not in app:
        return flag
    for flag in _FLAGS:
        value = app.get(flag, 0)
        if type(value) is not bool and (type(value) is not int or value not in (0, 1)):
            return flag
    if event["action_source"] == "app" or "extinfo" in app:
        return None if _is_extinfo(app.get("extinfo")) else "extinfo"
    return None


def _wrong_data_processing(event: dict[str, Any]) -> str | None:
    """Return what limited data use lacks: nobody sends an IP, so Meta cannot tell country and state from it."""
    if "LDU" in event.get("data_processing_options", ()):
        for name in ("data_processing_options_country", "data_processing_options_state"):
            if name not in event:
                return name
    return None


def _is_extinfo(value: Any) -> bool:
    return is_texts(value) and len(value) == EXTINFO_MEMBERS and value[0] in ("a2", "i2") and value[4] != ""


def _is_content(value: Any) -> bool:
    return type(value) is dict and "id" in value and misfit(value, _CONTENT) is None


def _is_thin(user: dict[str, Any]) -> bool:
    usable = {name for name, value in user.items() if name in _USER and value not in ("", [], [""])}
    return any(usable <= thin for thin in _THIN)
