"""Meta's Conversions API."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ingest.conversion import Conversion, ConversionRecord, Platform
from ingest.forward.outcome import Skip
from ingest.forward.platforms.answer import UNREADABLE, by_status, code_of, members, retry_after_s
from ingest.forward.platforms.contract import Accepted, Call, Dead, Facts, Later, Refused, Verdict
from ingest.forward.platforms.device import Device, Place, System, device
from ingest.forward.platforms.filled import filled
from ingest.forward.platforms.identifiers import (
    advertising_id,
    att_status,
    digests,
    external_id,
    somebody,
)
from ingest.forward.platforms.limits import AGE_MS_MAX, EVENTS_MAX
from ingest.forward.platforms.money import Money, money, quantity
from ingest.forward.platforms.plain import agent, is_server, locale, page, plain
from ingest.registry.model import App
from normalize import sha256_hex

PURCHASE: Final = "Purchase"
CLICK_ID: Final = "fbclid"

TOO_LITTLE: Final = frozenset({"country", "st", "client_user_agent"})
"""Members of `user_data` that many share: with these alone an event is refused."""

_THROTTLED: Final = frozenset({4, 17, 32, 341, 613, *range(80_000, 80_015)})
_AGAIN: Final = frozenset({1, 2, 368, 5_000, 21_009})
_DEAD: Final = frozenset({3, 10, 102, 190, 463, 467, *range(200, 300)})
_INVALID: Final = 100
_NO_SUCH_OBJECT: Final = 33

_FORMAT_VERSIONS: Final = {System.IOS: "i2", System.ANDROID: "a2"}
_is_browser_id = re.compile(r"fb\.[0-2]\.[0-9]{10,16}\.[!-~]+").fullmatch
_is_click_id = re.compile(r"[!-~]+").fullmatch
_is_screen = re.compile(r"([0-9]{1,5})(?:\.[0-9]+)? ?[xX\u00d7] ?([0-9]{1,5})(?:\.[0-9]+)?").fullmatch
_is_abbreviation = re.compile(r"[A-Z]{2,5}").fullmatch
_no_letters_or_digits = re.compile(r"[\W_]+").sub


class MetaConversions:
    """The Conversions API at a base URL, in a version such as `v26.0`."""

    platform: Platform = Platform.META
    events_max: int = EVENTS_MAX
    age_ms_max: int = AGE_MS_MAX

    def __init__(self, base_url: str, version: str) -> None:
        self._root = f"{base_url.rstrip('/')}/{version}"

    def event(self, facts: Facts, app: App) -> bytes | Skip:  # noqa: ARG002 - the same for all apps
        """Return a server event; or `NO_USER`, and for a purchase `NO_VALUE` or `NO_CURRENCY`."""
        record, event = facts.record, facts.record.event
        name, worth, where = event.to[self.platform], money(event), device(record)
        if name == PURCHASE and isinstance(worth, Skip):
            return worth
        user = _user_data(facts, where)
        if user.keys() <= TOO_LITTLE:
            return Skip.NO_USER
        parts = {
            "event_name": name,
            "event_time": facts.happened_at_ms // 1000,
            "event_id": record.meta.event_id,
            **_source(event, where),
            "user_data": user,
            "custom_data": _custom_data(event, worth),
            "app_data": _app_data(event, where.system) if where.place is Place.APP and where.system else None,
        }
        return msgspec.json.encode(filled(parts))

    def call(self, app: App, token: str, events: Sequence[bytes], test_code: str | None = None) -> Call:
        """Return the call that puts events into the app's dataset. Only to be asked where it has one."""
        meta = app.forward.meta
        assert meta is not None
        assert meta.dataset_id is not None
        test = b"" if test_code is None else b',"test_event_code":' + msgspec.json.encode(test_code)
        return Call(
            f"{self._root}/{meta.dataset_id}/events",
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            b'{"data":[' + b",".join(events) + b"]" + test + b"}",
        )

    def verdict(self, status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
        """Return what an answer means. Throttling comes as HTTP 400, so the error's code counts before the status."""
        answer = members(body)
        error = answer.get("error")
        if not isinstance(error, dict) or (code := code_of(error.get("code"))) is None:
            return _accepted(answer) if 200 <= status <= 299 else by_status(status, headers)
        subcode = code_of(error.get("error_subcode"))
        told = f"{code}/{subcode}" if subcode else f"{code}"
        if code in _THROTTLED or status == 429:
            return Later(told, retry_after_s(headers), throttled=True)
        if code in _AGAIN or error.get("is_transient") is True:
            return Later(told, retry_after_s(headers))
        if code in _DEAD or (code, subcode) == (_INVALID, _NO_SUCH_OBJECT) or status in {401, 403}:
            return Dead(told)
        return Refused(told) if status <= 499 else Later(told, retry_after_s(headers))


def _accepted(answer: Mapping[str, Any]) -> Verdict:
    if not code_of(answer.get("events_received")):
        return Later(UNREADABLE)
    return Accepted("messages" if answer.get("messages") else "")


def _source(event: Conversion, where: Device) -> dict[str, str | None]:
    if where.place is Place.APP:
        return {"action_source": "app"}
    if where.place is Place.PAGE:
        urls = {"event_source_url": page(event.page_url, CLICK_ID), "referrer_url": page(event.referrer, CLICK_ID)}
        return {"action_source": "website", **urls}
    return {"action_source": "system_generated"}


def _user_data(facts: Facts, where: Device) -> dict[str, Any]:
    record, event = facts.record, facts.record.event
    advertising = advertising_id(event)
    return filled(
        {
            "em": digests(event.email_sha256),
            "ph": digests(event.phone_sha256),
            "external_id": external_id(event),
            "client_user_agent": agent(record),
            "fbc": _click(event, facts.happened_at_ms),
            "fbp": _browser_id(event.fbp),
            "madid": advertising.value if advertising else None,
            "anon_id": plain(somebody(event.install_id)) if where.place is Place.APP else None,
            **_region(record),
        }
    )


def _region(record: ConversionRecord) -> dict[str, str | None]:
    if is_server(record):
        return {}
    parts = {"country": record.meta.country_code, "st": record.meta.subdivision1_code}
    normal = {name: _no_letters_or_digits("", text or "").lower() for name, text in parts.items()}
    return {name: sha256_hex(text) if text else None for name, text in normal.items()}


def _browser_id(text: str | None) -> str | None:
    return plain(text) if text and _is_browser_id(text) else None


def _click(event: Conversion, happened_at_ms: int) -> str | None:
    """Return the click as Meta's cookie would hold it; the click's own id is case-sensitive and stays as it is."""
    cookie = _browser_id(event.fbc) or _browser_id(event.fbclid)
    if cookie is None and event.fbclid and _is_click_id(event.fbclid) and plain(event.fbclid):
        return f"fb.1.{happened_at_ms}.{event.fbclid}"
    return cookie


def _custom_data(event: Conversion, worth: Money | Skip) -> dict[str, Any]:
    ids = [each for each in event.content_ids if plain(each)]
    count = quantity(event)
    return filled(
        {
            **(worth._asdict() if isinstance(worth, Money) else {}),
            "content_ids": ids,
            "content_type": "product" if ids else None,
            "contents": [{"id": ids[0], "quantity": count}] if count and len(ids) == 1 else None,
            "content_name": plain(event.content_name),
            "num_items": count,
            "order_id": plain(event.order_id),
            "search_string": plain(event.query),
        }
    )


def _app_data(event: Conversion, system: System) -> dict[str, Any]:
    """Return what is asked of events in apps: flags as numbers, because true and false are taken and then not used.

    On iOS tracking is enabled where the user allowed it, on Android where the device gives out an advertising id.
    Whoever denied advertising in the app is not forwarded at all, so the app's own flag is always 1.
    """
    allowed = att_status(event) == "authorized" if system is System.IOS else advertising_id(event) is not None
    return {
        "advertiser_tracking_enabled": int(allowed),
        "application_tracking_enabled": 1,
        "extinfo": _extinfo(event, system),
    }


def _extinfo(event: Conversion, system: System) -> list[str]:
    screen = _is_screen(event.screen_size or "")
    width, height = screen.groups() if screen else ("", "")
    zone = plain(event.timezone) or ""
    is_short = _is_abbreviation(zone) is not None
    texts = (
        _FORMAT_VERSIONS[system],
        None,  # package
        plain(event.app_version),
        plain(event.build_number),
        plain(event.os_version),
        plain(event.device_model),
        locale(event.locale, "_"),
        zone if is_short else None,
        None,  # carrier
        width,
        height,
        None,  # screen density
        None,  # CPU cores
        None,  # storage, GB
        None,  # free storage, GB
        None if is_short else zone,
    )
    return [text or "" for text in texts]
