"""Route: by which id an event is known, and by which key its record finds its partition."""

import hashlib

import msgspec

from ingest.event import Identified

_sorted = msgspec.json.Encoder(order="sorted").encode


def known_id(identified: Identified, app_id: str) -> str:
    """Return the client's event id as text, else one that a resend of the same event gets again.

    The derived id is the SHA-256 over the app id and the key-sorted JSON of the identified event: 32 hex characters.
    """
    given = identified.event.get("event_id")
    if type(given) is str and given:
        return given
    if type(given) is int:
        return str(given)
    return hashlib.sha256(app_id.encode() + _sorted(identified.event)).hexdigest()[:32]


def record_key(identified: Identified, app_id: str, event_id: str) -> bytes:
    """Return `app_id:id`, so that the events of one installation, else of one user, stay in order."""
    event = identified.event
    for value in (event.get("install_id"), event.get("app_user_id")):
        if type(value) is str and value:
            return f"{app_id}:{value}".encode()
        if type(value) is int:
            return f"{app_id}:{value}".encode()
    return f"{app_id}:{event_id}".encode()
