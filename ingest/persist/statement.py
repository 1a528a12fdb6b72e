"""A record of the topics `user-properties` and `consent` as the statements that it makes."""

from typing import Any

import msgspec

from ingest.db.queries.statements import Statement
from ingest.erasure import digests_in, subjects_in
from ingest.persist.row import Unusable, envelope
from ingest.pipeline.statements import ATT_STATUS, CHOICES, CONSENT_USER, PROPERTY_USER, users_of
from ingest.transport.contract import Delivered


class _Said(msgspec.Struct):
    timestamp: str
    app_user_id: str | int | None = None
    anonymous_id: str | int | None = None
    install_id: str | int | None = None


class _Properties(_Said):
    properties: dict[str, msgspec.Raw] = {}
    set_once: bool | None = None


class _Consent(_Said):
    advertising: bool | None = None
    analytics: bool | None = None
    thirdPartySharing: bool | None = None  # noqa: N815 - as SDKs write it
    att_status: str | None = None


_decode_properties = msgspec.json.Decoder(_Properties).decode
_decode_consent = msgspec.json.Decoder(_Consent).decode


def said_of_properties(record: Delivered) -> list[Statement]:
    """Return the properties in a record, which belong to the first id that it has. Raises `Unusable`."""
    shared, event = _shared(record)
    said = _decoded(_decode_properties, event)
    user = _users(said, PROPERTY_USER)[0]
    return [
        _statement(shared, said, user, name, bytes(value), is_only_for_absent=bool(said.set_once))
        for name, value in said.properties.items()
    ]


def said_of_consent(record: Delivered) -> list[Statement]:
    """Return the choices in a record, for each id that it has; one that is left out is none. Raises `Unusable`."""
    shared, event = _shared(record)
    said = _decoded(_decode_consent, event)
    choices = [(name, choice) for name in (*CHOICES, ATT_STATUS) if (choice := getattr(said, name)) is not None]
    return [
        _statement(shared, said, user, name, msgspec.json.encode(choice))
        for user in _users(said, CONSENT_USER)
        for name, choice in choices
    ]


class _Shared(msgspec.Struct, frozen=True):
    app_id: str
    project_id: str
    organization_id: str
    received_at: str
    subjects: list[str]


def _shared(record: Delivered) -> tuple[_Shared, bytes]:
    meta, event = envelope(record)
    try:
        subjects = subjects_in(event)
    except msgspec.MsgspecError:
        raise Unusable("record_malformed") from None
    return _Shared(meta.app_id, meta.project_id, meta.organization_id, meta.received_at, subjects), event


def _decoded(decode: Any, event: bytes) -> Any:
    try:
        return decode(event)
    except (msgspec.MsgspecError, RecursionError):
        raise Unusable("record_malformed") from None


def _users(said: _Said, members: tuple[str, ...]) -> list[tuple[str, str]]:
    users = users_of(msgspec.structs.asdict(said), members)
    if not users:
        raise Unusable("user_missing")
    return users


def _statement(
    shared: _Shared, said: _Said, user: tuple[str, str], name: str, value: bytes, *, is_only_for_absent: bool = False
) -> Statement:
    app_user_id = said.app_user_id
    return Statement(
        app_id=shared.app_id,
        user_kind=user[0],
        user_id=user[1],
        name=name,
        value=value.decode(),
        said_at=said.timestamp,
        received_at=shared.received_at,
        project_id=shared.project_id,
        organization_id=shared.organization_id,
        app_user_id=None if app_user_id in {None, ""} else str(app_user_id),
        digests=digests_in(value) or None,
        subjects=shared.subjects,
        is_only_for_absent=is_only_for_absent,
    )
