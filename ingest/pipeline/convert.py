"""Convert: an event that goes to advertising platforms becomes a second record, with what these need and no more.

What `identify` takes out, the advertising id, is read before it; everything else comes from the identified event. Each
part is bounded, so that a record has a largest size: what is longer is left out, never cut.
"""

import re
from typing import Any, Final, NamedTuple

import msgspec

import normalize
from ingest.conversion import CONVERSION_VERSION, Conversion, ConversionMeta, ConversionRecord, Platform
from ingest.event import Identified, JsonObject, Record, ValidEvent
from ingest.pipeline.advertising import AdvertisingId, advertising_id, denies_advertising, places_of
from ingest.pipeline.destinations import Destinations, destinations_of
from ingest.pipeline.encode import os_name
from ingest.pipeline.header import agent_text
from ingest.pipeline.identify import MARKS_OWN, marks_in
from ingest.pipeline.request import Request

TEXT_CHARS_MAX: Final = 512
LINK_CHARS_MAX: Final = 2048
"""Of click ids, and of URLs, which carry them."""

DIGESTS_MAX: Final = 16
CONTENT_IDS_MAX: Final = 100
"""So many of one kind are handed on, the first ones."""

NUMBER_MAX: Final = 10**15
"""Largest value or quantity, either way; every integer up to it is a double."""

_WEB: Final = "web"
_VALUES: Final = ("revenue", "price", "value", "amount")
_CONTENT_IDS: Final = ("product_id", "item_id", "content_id", "content_ids")

_is_digest = re.compile(r"[0-9a-f]{64}").fullmatch
_is_decimal = re.compile(r"-?[0-9]{1,16}(?:\.[0-9]{1,16})?").fullmatch
_encode = msgspec.json.Encoder().encode

_Places = tuple[JsonObject, ...]


class Lead(NamedTuple):
    """What is read of an event before it is identified: where it goes, and the advertising id that may be handed on.

    `hunted` are all ids that may stand in no text, None where the texts are too dense to look for them.
    """

    to: dict[Platform, str]
    advertising: AdvertisingId
    hunted: tuple[str, ...] | None


class Converter:
    """Makes the conversions of one request, and counts in `routed` to which platforms they go.

    The user agent is read once, for the first event that goes.
    """

    def __init__(self, request: Request, destinations: Destinations, root_ids: tuple[str, ...]) -> None:
        """Take where events may go, and the advertising ids that stand beside the events of the batch."""
        self.routed: dict[str, int] = {}
        self._request = request
        self._destinations = destinations
        self._root_ids = root_ids
        self._agents: dict[tuple[str, ...], str | None] = {}

    def lead(self, event: ValidEvent) -> Lead | None:
        """Return what must be read before `identify`, None for an event that goes nowhere."""
        name: str = event["event"]
        to = {platform: names[name] for platform, names in self._destinations if name in names}
        if not to or denies_advertising(event):
            return None
        return Lead(to, advertising_id(event), self._hunted(event))

    def _hunted(self, event: ValidEvent) -> tuple[str, ...] | None:
        if not self._request.user_agent:
            return ()
        if marks_in(event) > MARKS_OWN:
            return None
        return (*normalize.advertising_ids(event), *self._root_ids)

    def record(self, lead: Lead, identified: Identified, event_id: str, key: bytes) -> Record | None:
        """Return the conversion of an event, None where its name or time is longer than may be handed on."""
        places = places_of(identified.event)
        name, timestamp = _text(places[:1], "event"), _text(places[:1], "timestamp")
        if name is None or timestamp is None:
            return None
        meta = self._meta(event_id, identified.event)
        event = _conversion(places, name, timestamp, lead, self._agent_of(lead.hunted))
        for platform in lead.to:
            self.routed[platform] = self.routed.get(platform, 0) + 1
        return Record(key, _encode(ConversionRecord(meta, event)))

    def _meta(self, event_id: str, event: JsonObject) -> ConversionMeta:
        request, app = self._request, self._request.app
        return ConversionMeta(
            v=CONVERSION_VERSION,
            app_id=app.id,
            project_id=app.project_id,
            organization_id=app.organization_id,
            received_at=request.received_at,
            request_id=request.request_id,
            source=request.source,
            scheme=normalize.SCHEME,
            event_id=event_id,
            country_code=request.region.country_code,
            subdivision1_code=request.region.subdivision1_code,
            os_name=os_name(request, event),
        )

    def _agent_of(self, hunted: tuple[str, ...] | None) -> str | None:
        """Return the user agent without the ids of an event; a device's are the same in all of its events."""
        if hunted is None:
            return None
        if () not in self._agents:
            self._agents[()] = agent_text(self._request.user_agent, self._request.own)
        plain = self._agents[()]
        if hunted not in self._agents:
            text = plain and normalize.scrub_text(plain, self._request.own, hunted)[0]
            self._agents = {(): plain, hunted: text or None}
        return self._agents[hunted]


def converter_of(request: Request, root_ids: tuple[str, ...]) -> Converter | None:
    """Return what makes the conversions of a request, None where there are none: most apps forward nothing.

    Nor does what a partner sends with a key for tests go to a platform.
    """
    destinations = destinations_of(request.app)
    if not destinations or request.environment_fixed:
        return None
    return Converter(request, destinations, root_ids)


def _conversion(places: _Places, name: str, timestamp: str, lead: Lead, user_agent: str | None) -> Conversion:
    platform = _text(places, "platform")
    page_url = _link(places, "$page_url") or _link(places, "page_url")
    if page_url is None and platform is not None and platform.lower() == _WEB:
        page_url = _link(places, "url")  # of an app it may be a deep link
    value, currency = _price(places)
    return Conversion(
        event=name,
        timestamp=timestamp,
        to=lead.to,
        user_id=_id(places, "user_id"),
        app_user_id=_id(places, "app_user_id"),
        install_id=_id(places, "install_id"),
        anonymous_id=_id(places, "anonymous_id"),
        platform=platform,
        os_version=_text(places, "os_version"),
        app_version=_text(places, "app_version"),
        build_number=_text(places, "build_number"),
        device_model=_text(places, "device_model"),
        locale=_text(places, "locale"),
        timezone=_text(places, "timezone"),
        screen_size=_text(places, "screen_size"),
        att_status=_text(places, "att_status"),
        email_sha256=_digests(places, "email_sha256"),
        phone_sha256=_digests(places, "phone_sha256"),
        phone_e164_sha256=_digests(places, "phone_e164_sha256"),
        phone_national_sha256=_digests(places, "phone_national_sha256"),
        user_agent=user_agent,
        idfa=lead.advertising.idfa,
        gaid=lead.advertising.gaid,
        page_url=page_url,
        referrer=_link(places, "referrer"),
        fbc=_link(places, "$fbc") or _link(places, "fbc"),
        fbp=_text(places, "$fbp") or _text(places, "fbp"),
        fbclid=_link(places, "fbclid"),
        ttclid=_link(places, "ttclid"),
        ttp=_text(places, "$ttp") or _text(places, "ttp"),
        value=value,
        currency=currency,
        order_id=_id(places, "order_id") or _id(places, "transaction_id"),
        content_ids=_content_ids(places),
        content_name=_text(places, "content_name"),
        quantity=_quantity(places),
        query=_text(places, "query") or _text(places, "search_string"),
    )


def _text(places: _Places, name: str, chars_max: int = TEXT_CHARS_MAX) -> str | None:
    """Return the first text under a name that is not empty and not too long."""
    for place in places:
        value = place.get(name)
        if type(value) is str and 0 < len(value) <= chars_max:
            return value
    return None


def _link(places: _Places, name: str) -> str | None:
    return _text(places, name, LINK_CHARS_MAX)


def _id(places: _Places, name: str) -> str | None:
    for place in places:
        found = _as_id(place.get(name))
        if found is not None:
            return found
    return None


def _as_id(value: Any) -> str | None:
    """Return an id as text: an integer is as good as a string."""
    if type(value) is int:
        value = str(value)
    return value if type(value) is str and 0 < len(value) <= TEXT_CHARS_MAX else None


def _content_ids(places: _Places) -> tuple[str, ...]:
    for name in _CONTENT_IDS:
        for place in places:
            value = place.get(name)
            items = value if type(value) is list else (value,)
            found = [text for item in items if (text := _as_id(item)) is not None]
            if found:
                return tuple(found[:CONTENT_IDS_MAX])
    return ()


def _quantity(places: _Places) -> int | None:
    for place in places:
        value = place.get("quantity")
        if type(value) is int and abs(value) <= NUMBER_MAX:
            return value
    return None


def _price(places: _Places) -> tuple[float | int | None, str | None]:
    """Return the value and its currency, which stands beside it if it can."""
    for name in _VALUES:
        for place in places:
            value = _number(place.get(name))
            if value is not None:
                return value, _text((place, *places), "currency")
    return None, _text(places, "currency")


def _number(value: Any) -> float | int | None:
    """Return a number that is one, or the text of one; no double is infinite here, and a boolean is no number."""
    if type(value) is str and _is_decimal(value):
        value = float(value) if "." in value else int(value)
    if (type(value) is int or type(value) is float) and abs(value) <= NUMBER_MAX:
        number: float | int = value
        return number
    return None


def _integer(value: Any) -> int | None:
    return value if type(value) is int and abs(value) <= NUMBER_MAX else None


def _digests(places: _Places, name: str) -> tuple[str, ...]:
    """Return the digests under a name, each once."""
    for place in places:
        value = place.get(name)
        if value is not None:
            items = value if type(value) is list else (value,)
            found = dict.fromkeys(item for item in items if type(item) is str and _is_digest(item))
            found.pop(normalize.EMPTY, None)
            if found:
                return tuple(found)[:DIGESTS_MAX]
    return ()
