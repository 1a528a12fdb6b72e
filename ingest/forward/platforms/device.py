"""Where a conversion happened: in an app, on a web page, or where no device is known."""

import enum
from typing import Final, NamedTuple

from ingest.conversion import ConversionRecord
from ingest.forward.platforms.plain import is_server, plain


class Place(enum.Enum):
    """Where the user was; a server, a computer or a device of which too little is known is elsewhere."""

    APP = enum.auto()
    PAGE = enum.auto()
    ELSEWHERE = enum.auto()


class System(enum.Enum):
    """The operating systems whose apps platforms know."""

    IOS = enum.auto()
    ANDROID = enum.auto()


class Device(NamedTuple):
    """Where it happened, and on which system; an app's system has a version."""

    place: Place
    system: System | None = None


_SYSTEMS: Final = {"ios": System.IOS, "ipados": System.IOS, "android": System.ANDROID}


def device(record: ConversionRecord) -> Device:
    """Return where a conversion happened, by the SDK's own word first.

    A framework for several systems, such as Unity, says nothing of the system: an advertising id does, else the user
    agent. But the user agent of a browser tells that the framework runs inside of a page.
    """
    event, platform = record.event, (record.event.platform or "").strip().lower()
    if platform == "web":
        return Device(Place.PAGE)
    if is_server(record):
        return Device(Place.ELSEWHERE)
    system = _SYSTEMS.get(platform)
    if system is None and (event.idfa or event.gaid):
        system = System.IOS if event.idfa else System.ANDROID
    if system is None and (event.user_agent or "").startswith("Mozilla/"):
        return Device(Place.PAGE if event.page_url else Place.ELSEWHERE)
    if system is None:
        system = _SYSTEMS.get((record.meta.os_name or "").lower())
    return Device(Place.APP if system and plain(event.os_version) else Place.ELSEWHERE, system)
