"""TikTok's Events API 2.0."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from ingest.conversion import Conversion, Platform
from ingest.forward.outcome import Skip
from ingest.forward.platforms.answer import by_status, code_of, members, retry_after_s
from ingest.forward.platforms.contract import Accepted, Call, Dead, Facts, Later, Refused, Verdict
from ingest.forward.platforms.device import Device, Place, System, device
from ingest.forward.platforms.filled import filled
from ingest.forward.platforms.identifiers import advertising_id, att_status, digests, external_id
from ingest.forward.platforms.limits import AGE_MS_MAX, EVENTS_MAX
from ingest.forward.platforms.money import Money, money, quantity
from ingest.forward.platforms.plain import agent, locale, page, plain
from ingest.registry.model import App, TikTokForward
from normalize import sha256_hex

CLICK_ID: Final = "ttclid"
PATH: Final = "/open_api/v1.3/event/track/"

APP_NAMES: Final = {
    "CompleteRegistration": "Registration",
    "InitiateCheckout": "Checkout",
    "CompletePayment": "Purchase",
    "Lead": "GenerateLead",
    "SubmitForm": "GenerateLead",
}
"""What events are called in apps that have another name on the web; all others have one name, or are the app's own."""

MATCHING: Final = frozenset({"email", "phone", "external_id", "ttclid", "ttp", "idfa", "gaid"})
"""Members of `user` by which one user can be found; without any of them an event would count for nobody."""

_ATT: Final = frozenset({"authorized", "denied", "not_determined", "restricted"})
_OK, _PARTIAL, _THROTTLED, _NO_PERMISSION, _NO_SUCH_OBJECT = 0, 20_001, 40_100, 40_001, 40_007
_AUTHENTICATION: Final = range(40_100, 40_200)
_CLIENT: Final = range(40_000, 50_000)


class TikTokEvents:
    """The Events API at a base URL."""

    platform: Platform = Platform.TIKTOK
    events_max: int = EVENTS_MAX
    age_ms_max: int = AGE_MS_MAX

    def __init__(self, base_url: str) -> None:
        self._url = base_url.rstrip("/") + PATH

    def event(self, facts: Facts, app: App) -> bytes | Skip:
        """Return an event for the app's event source; or `NO_USER`, `NO_PAGE` or `NO_APP`.

        Only to be asked where the app has such a source. A purchase without value or currency is taken.
        """
        record, event = facts.record, facts.record.event
        source, where = _source(app), device(record)
        context = _app(source, event, where) if source.event_source == "app" else _page(app, event, where)
        if isinstance(context, Skip):
            return context
        user = filled(
            {
                **_identifiers(event, plain_ids=source.plain_advertising_ids),
                "user_agent": agent(record),
                "locale": locale(event.locale, "-"),
                "att_status": _att_status(event, where.system),
            }
        )
        if user.keys().isdisjoint(MATCHING):
            return Skip.NO_USER
        name = event.to[self.platform]
        parts = {
            "event": APP_NAMES.get(name, name) if source.event_source == "app" else name,
            "event_time": facts.happened_at_ms // 1000,
            "event_id": record.meta.event_id,
            "user": user,
            "properties": _properties(event),
            **context,
        }
        return msgspec.json.encode(filled(parts))

    def call(self, app: App, token: str, events: Sequence[bytes], test_code: str | None = None) -> Call:
        """Return the call that reports events of the app's event source. Only to be asked where it has one."""
        source = _source(app)
        envelope = {"event_source": source.event_source, "event_source_id": source.event_source_id}
        if test_code is not None:
            envelope["test_event_code"] = test_code
        return Call(
            self._url,
            {"Access-Token": token, "Content-Type": "application/json"},
            msgspec.json.encode(envelope)[:-1] + b',"data":[' + b",".join(events) + b"]}",
        )

    def verdict(self, status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
        """Return what an answer means. Refusals come as HTTP 200, so it is the body's code that counts."""
        code = code_of(members(body).get("code"))
        is_success = 200 <= status <= 299
        if code is None or status >= 500 or status in {413, 429} or not (is_success or code in _CLIENT):
            return by_status(status, headers)
        if code in {_OK, _PARTIAL}:
            return Accepted("" if code == _OK else f"{code}")
        if code == _THROTTLED:
            return Later(f"{code}", retry_after_s(headers), throttled=True)
        if code in {_NO_PERMISSION, _NO_SUCH_OBJECT} or code in _AUTHENTICATION:
            return Dead(f"{code}")
        return Refused(f"{code}") if code in _CLIENT else Later(f"{code}", retry_after_s(headers))


def _source(app: App) -> TikTokForward:
    tiktok = app.forward.tiktok
    assert tiktok is not None
    return tiktok


def _page(app: App, event: Conversion, where: Device) -> dict[str, Any] | Skip:
    """Return the page of an event, which a source `web` must have.

    What happens in an app happens on no page; it goes with the app's own site, else its store page, for that is all
    that a pixel can tell of an app.
    """
    url = page(event.page_url, CLICK_ID)
    if url is None and where.place is not Place.PAGE:
        stores = {System.IOS: app.store_url_ios, System.ANDROID: app.store_url_android}
        url = app.web_url or (stores[where.system] if where.system else app.store_url_ios or app.store_url_android)
    return Skip.NO_PAGE if url is None else {"page": filled({"url": url, "referrer": page(event.referrer, CLICK_ID)})}


def _app(source: TikTokForward, event: Conversion, where: Device) -> dict[str, Any] | Skip:
    """Return the app of an event, which a source `app` must have; what happens on a page is not told of an app."""
    if source.store_app_id is None or where.place is Place.PAGE:
        return Skip.NO_APP
    return {"app": filled({"app_id": source.store_app_id, "app_version": plain(event.app_version)})}


def _identifiers(event: Conversion, *, plain_ids: bool) -> dict[str, Any]:
    advertising = advertising_id(event)
    parts = {
        "email": _one_or_more(digests(event.email_sha256)),
        "phone": _one_or_more(_phones(event)),
        "external_id": external_id(event),
        "ttclid": plain(event.ttclid),
        "ttp": plain(event.ttp),
    }
    if advertising is not None:
        parts[advertising.kind] = advertising.value if plain_ids else sha256_hex(advertising.value.lower())
    return parts


def _phones(event: Conversion) -> list[str]:
    """Return the digests with the plus, but for calling code 86, where TikTok knows numbers without code and plus.

    Where there are numbers of other countries too nothing tells which digest is whose, so all of them go.
    """
    national, international = digests(event.phone_national_sha256), digests(event.phone_e164_sha256)
    return national if len(national) >= len(international) else digests([*national, *international])


def _one_or_more(texts: list[str]) -> str | list[str] | None:
    return texts[0] if len(texts) == 1 else texts or None


def _att_status(event: Conversion, system: System | None) -> str | None:
    if system is System.ANDROID:
        return "NOT_APPLICABLE"
    status = att_status(event)
    return status.upper() if system is System.IOS and status in _ATT else None


def _properties(event: Conversion) -> dict[str, Any]:
    worth, count = money(event), quantity(event)
    ids = [each for each in event.content_ids if plain(each)]
    name, query = plain(event.content_name), plain(event.query)
    single = {"quantity": count, "content_name": name} if len(ids) == 1 else {}
    return filled(
        {
            **(worth._asdict() if isinstance(worth, Money) else {}),
            "content_ids": ids,
            "content_type": "product" if ids else None,
            "contents": [filled({"content_id": each, **single}) for each in ids],
            "num_items": count,
            "order_id": plain(event.order_id),
            "query": query,
            "search_string": query,
        }
    )
