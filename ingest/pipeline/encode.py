"""Encode: an identified event and what is known of it become the bytes of one record.

The value is put together from parts that are encoded once: what a batch has in common, what a device has in common,
and the event, which `identify` has encoded already.
"""

from typing import Any, Final

import msgspec

import normalize
from ingest.event import RECORD_VERSION, BatchMeta, Decoded, Identified, JsonObject, Named
from ingest.pipeline.request import Request

ROOT_BYTES_MAX: Final = 8192
"""Most bytes of the root's members besides `events`: every record of the batch carries them."""

_SENDERS_MAX: Final = 32
_DEVICES_MAX: Final = 512  # of one kind of sender: 16,384 in all, about 10 MB
_MEMBER_CHARS_MAX: Final = 64
_NOTES_MAX: Final = 512

# Platforms that are operating systems; the others run on one, which the user agent may tell.
_OPERATING_SYSTEMS: Final = frozenset(("ios", "android", "macos", "windows", "linux", "tvos", "watchos", "visionos"))

_encode = msgspec.json.Encoder().encode
_senders: dict[tuple[Any, ...], dict[tuple[Any, ...], bytes]] = {}
_notes: dict[tuple[str, ...], bytes] = {}


class Frame:
    """What the records of one batch have in common, encoded once."""

    __slots__ = ("_devices", "_request", "_start")

    def __init__(self, batch: Decoded, request: Request) -> None:
        """Take the root of an identified batch."""
        app = request.app
        shared = BatchMeta(
            v=RECORD_VERSION,
            app_id=app.id,
            project_id=app.project_id,
            organization_id=app.organization_id,
            received_at=request.received_at,
            request_id=request.request_id,
            source=request.source,
            scheme=normalize.SCHEME,
            sent_at=batch.sent_at,
            batch_id=batch.batch_id,
            country_code=request.region.country_code,
            subdivision1_code=request.region.subdivision1_code,
            sdk=request.sdk,
            batch=batch.extra or None,
        )
        self._start = b'{"meta":' + _encode(shared)[:-1] + b',"event_id":'
        self._request = request
        self._devices = _devices_of(request)

    def record(self, identified: Identified, event_id: str) -> bytes:
        """Return a record's value: the batch's part of `meta`, the event's own part, the event."""
        notes = identified.notes
        return b"".join(
            (
                self._start,
                _encode(event_id),
                self._device(identified.event),
                (_notes.get(notes) or _encode_notes(notes)) if notes else b"",
                b'},"event":',
                identified.json,
                b"}",
            )
        )

    def _device(self, event: JsonObject) -> bytes:
        """Return the members `environment`, `os` and `client`; a device repeats itself, so the answers are kept."""
        get = event.get
        key = get("environment"), get("platform"), get("os_version"), get("app_version")
        try:
            known = self._devices.get(key)
        except TypeError:  # a member that should be text holds an object or a list
            return _encode_device(self._request, key)
        if known is not None:
            return known
        text = _encode_device(self._request, key)
        if all(type(member) is str and len(member) <= _MEMBER_CHARS_MAX for member in key if member is not None):
            if len(self._devices) >= _DEVICES_MAX:
                self._devices.clear()
            self._devices[key] = text
        return text


def _encode_notes(notes: tuple[str, ...]) -> bytes:
    """Return the member `notes`, which few combinations of the closed set of codes ever fill."""
    if len(_notes) >= _NOTES_MAX:
        _notes.clear()
    text = _notes[notes] = b',"notes":' + _encode(notes)
    return text


def _devices_of(request: Request) -> dict[tuple[Any, ...], bytes]:
    """Return what is known of the devices behind one kind of sender, for all requests of that kind."""
    key = request.app.id, request.app.environment, request.environment, request.environment_fixed, request.agent
    if len(_senders) >= _SENDERS_MAX:
        _senders.clear()
    return _senders.setdefault(key, {})


def _encode_device(request: Request, members: tuple[Any, ...]) -> bytes:
    environment, platform, os_version, app_version = (value if type(value) is str else None for value in members)
    parts: JsonObject = {}
    chosen = environment or request.environment or request.app.environment
    if request.environment_fixed:
        chosen = request.environment
    if chosen:
        parts["environment"] = chosen
    parts |= _software(request, platform, os_version, app_version)
    return b"," + _encode(parts)[1:-1] if parts else b""


def os_name(request: Request, event: JsonObject) -> str | None:
    """Return the name in a record's `os`: the event's platform if it is a system, else what the user agent says."""
    platform, os = event.get("platform"), request.agent.os
    if type(platform) is str and platform.lower() in _OPERATING_SYSTEMS:
        return platform
    return os.name if os is not None else None


def _software(
    request: Request, platform: str | None, os_version: str | None, app_version: str | None
) -> dict[str, Named]:
    """Choose operating system and client: the SDK's own members win over the user agent's."""
    os, client = request.agent
    if platform and platform.lower() in _OPERATING_SYSTEMS:
        os = Named(platform, os_version)
        client = Named(request.app.id, app_version)
    elif os_version:
        os = Named(os.name if os else None, os_version)
    return {name: value for name, value in (("os", os), ("client", client)) if value is not None}
