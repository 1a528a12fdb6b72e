"""Advertising: what an event itself says of it, read before `identify` takes the advertising ids out.

Which id may be handed on is decided strictly: what does not say for certain that it may stays behind.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import normalize
from ingest.event import JsonObject, ValidEvent
from ingest.pipeline.statements import ATT_STATUS
from normalize import Family

AUTHORIZED: Final = "authorized"

IDFA_NAMES: Final = frozenset(("idfa", "advertisingidentifier"))
GAID_NAMES: Final = frozenset(
    ("gaid", "aaid", "gpsadid", "googleadvertisingid", "androidadvertisingid", "rdid")
)  # fmt: skip
GENERIC_NAMES: Final = frozenset(("ifa", "advertisingid", "madid"))
"""Names, folded, of members that hold an advertising id; the generic ones tell no more with the event's platform.

`idfv` and `adid` are the ids of a vendor and of a third party: neither is one.
"""

_APPLE: Final = frozenset(("ios", "ipados", "macos", "tvos", "watchos", "visionos"))
_IOS: Final = "ios"
_ANDROID: Final = "android"

_UUID_CHARS: Final = 36
_NO_MEMBERS: Final[JsonObject] = {}
_is_uuid = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}").fullmatch


class AdvertisingId(NamedTuple):
    """The advertising id of the device as it may be handed on: at most one of the two."""

    idfa: str | None = None
    gaid: str | None = None


NO_ID: Final = AdvertisingId()


def places_of(event: JsonObject) -> tuple[JsonObject, JsonObject]:
    """Return the objects in which an event's members stand, in the order in which they count."""
    properties = event.get("properties")
    return event, properties if type(properties) is dict else _NO_MEMBERS


def denies_advertising(event: ValidEvent) -> bool:
    """Tell whether the event says that it is not for advertising: `advertising` false, or so in an object `consent`."""
    for place in places_of(event):
        if place.get("advertising") is False:
            return True
        consent = place.get("consent")
        if type(consent) is dict and consent.get("advertising") is False:
            return True
    return False


def advertising_id(event: ValidEvent) -> AdvertisingId:
    """Return the id that may be handed on: an IDFA where tracking is authorized, a GAID where nobody had to ask.

    With an `att_status` that says anything else there is none, and none that contradicts the event's platform.
    """
    places = places_of(event)
    said = [place[ATT_STATUS] for place in places if place.get(ATT_STATUS) is not None]
    platforms = (place.get("platform") for place in places)
    platform = next((value.lower() for value in platforms if type(value) is str and value), "")
    if not said and platform not in _APPLE:
        names = GAID_NAMES | GENERIC_NAMES if platform == _ANDROID else GAID_NAMES
        return AdvertisingId(gaid=next(_ids(places, names), None))
    if said and all(status == AUTHORIZED for status in said) and platform != _ANDROID:
        names = IDFA_NAMES | GENERIC_NAMES if platform == _IOS else IDFA_NAMES
        return AdvertisingId(idfa=next(_ids(places, names), None))
    return NO_ID


def _ids(places: tuple[JsonObject, ...], names: frozenset[str]) -> Iterator[str]:
    """Find the ids under these names, in order: UUIDs, but not the all-zero one, which everybody shares."""
    for place in places:
        for name, value in place.items():
            if type(value) is str and len(value) == _UUID_CHARS and _is_named(name, names) and _is_id(value):
                yield value


def _is_named(name: str, names: frozenset[str]) -> bool:
    return normalize.family(name) is Family.ADVERTISING and normalize.fold(name) in names


def _is_id(value: str) -> bool:
    return _is_uuid(value) is not None and value.strip("0-") != ""
