"""A record of the topic `skan` as the row that it makes."""

from typing import Any

import msgspec

from ingest.db.queries.skan import Postback
from ingest.persist.row import Unusable, envelope
from ingest.persist.skan_signature import SkanVerifier
from ingest.transport.contract import Delivered


class _Postback(msgspec.Struct, rename="kebab"):
    version: str
    ad_network_id: str
    app_id: int | str
    transaction_id: str
    attribution_signature: str
    campaign_id: int | None = None
    source_identifier: str | int | None = None
    redownload: bool | None = None
    source_app_id: int | str | None = None
    source_domain: str | None = None
    fidelity_type: int | None = None
    did_win: bool | None = None
    conversion_value: int | None = None
    coarse_conversion_value: str | None = None
    postback_sequence_index: int | None = None
    country_code: str | None = None
    timestamp: str | None = None


def to_postback(record: Delivered, verifier: SkanVerifier) -> Postback:
    """Return the row of a record, with the verdict on its signature. Raises `Unusable`."""
    meta, event = envelope(record)
    try:
        sent = msgspec.json.decode(event, type=_Postback)
        members: dict[str, Any] = msgspec.json.decode(event)
    except (msgspec.MsgspecError, RecursionError):
        raise Unusable("record_malformed") from None
    return Postback(
        app_id=meta.app_id,
        transaction_id=sent.transaction_id.lower(),
        postback_sequence_index=sent.postback_sequence_index or 0,
        project_id=meta.project_id,
        organization_id=meta.organization_id,
        received_at=meta.received_at,
        said_at=sent.timestamp,
        version=sent.version,
        ad_network_id=sent.ad_network_id,
        campaign_id=sent.campaign_id,
        source_identifier=None if sent.source_identifier is None else str(sent.source_identifier),
        apple_app_id=str(sent.app_id),
        source_app_id=None if sent.source_app_id is None else str(sent.source_app_id),
        source_domain=sent.source_domain,
        redownload=sent.redownload,
        fidelity_type=sent.fidelity_type,
        did_win=sent.did_win,
        conversion_value=sent.conversion_value,
        coarse_conversion_value=sent.coarse_conversion_value,
        country_code=sent.country_code,
        attribution_signature=sent.attribution_signature,
        signature=verifier.judge(members).value,
    )
