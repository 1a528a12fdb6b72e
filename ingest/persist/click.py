"""A record of the topic `clicks` as the row that it makes."""

import msgspec

from ingest.db.queries.clicks import Click
from ingest.persist.row import Unusable, envelope
from ingest.pipeline.click import PARAMETERS
from ingest.transport.contract import Delivered


class _Named(msgspec.Struct, frozen=True):
    name: str | None = None
    version: str | None = None


_NOTHING = _Named()


class _Device(msgspec.Struct):
    os: _Named = _NOTHING
    client: _Named = _NOTHING


class _Record(msgspec.Struct):
    meta: _Device


def to_click(record: Delivered) -> Click:
    """Return the row of a record. Raises `Unusable`."""
    meta, event = envelope(record)
    try:
        device = msgspec.json.decode(record.value, type=_Record).meta
        members = msgspec.json.decode(event, type=dict[str, str])
        target = members["target"]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError):
        raise Unusable("record_malformed") from None
    parameters = {name: members[name] for name in PARAMETERS if name in members}
    return Click(
        app_id=meta.app_id,
        click_id=meta.event_id,
        project_id=meta.project_id,
        organization_id=meta.organization_id,
        received_at=meta.received_at,
        target=target,
        utm_source=parameters.get("utm_source"),
        utm_medium=parameters.get("utm_medium"),
        utm_campaign=parameters.get("utm_campaign"),
        parameters=msgspec.json.encode(parameters).decode(),
        country_code=meta.country_code,
        subdivision1_code=meta.subdivision1_code,
        os=device.os.name,
        os_version=device.os.version,
        client=device.client.name,
        client_version=device.client.version,
    )
