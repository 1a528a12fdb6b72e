"""Statements on clicks: each is kept once."""

from collections.abc import Sequence
from typing import Final, LiteralString

import msgspec

from ingest.db.database import Connection


class Click(msgspec.Struct, frozen=True):
    """One click. `parameters` is JSON, `received_at` RFC 3339."""

    app_id: str
    click_id: str
    project_id: str
    organization_id: str
    received_at: str
    target: str
    utm_source: str | None
    utm_medium: str | None
    utm_campaign: str | None
    parameters: str
    country_code: str | None
    subdivision1_code: str | None
    os: str | None
    os_version: str | None
    client: str | None
    client_version: str | None


_INSERT: Final[LiteralString] = """
    INSERT INTO clicks (
        app_id, click_id, project_id, organization_id, received_at, target, utm_source, utm_medium, utm_campaign,
        parameters, country_code, subdivision1_code, os, os_version, client, client_version)
    VALUES (
        %(app_id)s, %(click_id)s, %(project_id)s, %(organization_id)s, %(received_at)s, %(target)s, %(utm_source)s,
        %(utm_medium)s, %(utm_campaign)s, %(parameters)s, %(country_code)s, %(subdivision1_code)s, %(os)s,
        %(os_version)s, %(client)s, %(client_version)s)
    ON CONFLICT (app_id, click_id) DO NOTHING
"""


async def insert_clicks(connection: Connection, clicks: Sequence[Click]) -> None:
    """Add clicks that are not there yet, in the transaction at hand.

    Raises `psycopg.DataError` where one cannot be stored, which undoes the transaction.
    """
    async with connection.cursor() as cursor:
        await cursor.executemany(_INSERT, [msgspec.structs.asdict(each) for each in clicks])
