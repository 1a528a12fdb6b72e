"""Statements on SKAdNetwork postbacks: each is kept once."""

from collections.abc import Sequence
from typing import Final, LiteralString

import msgspec

from ingest.db.database import Connection


class Postback(msgspec.Struct, frozen=True):
    """One postback with the verdict on its signature. Times are RFC 3339; `said_at` is the client's."""

    app_id: str
    transaction_id: str
    postback_sequence_index: int
    project_id: str
    organization_id: str
    received_at: str
    said_at: str | None
    version: str
    ad_network_id: str
    campaign_id: int | None
    source_identifier: str | None
    apple_app_id: str
    source_app_id: str | None
    source_domain: str | None
    redownload: bool | None
    fidelity_type: int | None
    did_win: bool | None
    conversion_value: int | None
    coarse_conversion_value: str | None
    country_code: str | None
    attribution_signature: str
    signature: str


_INSERT: Final[LiteralString] = """
    INSERT INTO skan_postbacks (
        app_id, transaction_id, postback_sequence_index, project_id, organization_id, received_at, said_at, version,
        ad_network_id, campaign_id, source_identifier, apple_app_id, source_app_id, source_domain, redownload,
        fidelity_type, did_win, conversion_value, coarse_conversion_value, country_code, attribution_signature,
        signature)
    VALUES (
        %(app_id)s, %(transaction_id)s, %(postback_sequence_index)s, %(project_id)s, %(organization_id)s,
        %(received_at)s, %(said_at)s, %(version)s, %(ad_network_id)s, %(campaign_id)s, %(source_identifier)s,
        %(apple_app_id)s, %(source_app_id)s, %(source_domain)s, %(redownload)s, %(fidelity_type)s, %(did_win)s,
        %(conversion_value)s, %(coarse_conversion_value)s, %(country_code)s, %(attribution_signature)s, %(signature)s)
    ON CONFLICT (app_id, transaction_id, postback_sequence_index) DO NOTHING
"""


async def insert_postbacks(connection: Connection, postbacks: Sequence[Postback]) -> None:
    """Add postbacks that are not there yet, in the transaction at hand.

    Raises `psycopg.DataError` where one cannot be stored, which undoes the transaction.
    """
    async with connection.cursor() as cursor:
        await cursor.executemany(_INSERT, [msgspec.structs.asdict(each) for each in postbacks])
