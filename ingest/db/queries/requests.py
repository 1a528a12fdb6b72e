"""Queries on the log of partner requests."""

from collections.abc import Sequence
from datetime import datetime
from typing import LiteralString

import msgspec

from ingest.db.database import Connection
from ingest.db.rows import change


class RequestRow(msgspec.Struct, frozen=True):
    """Metadata of one request: `route` is a template, sizes are bytes."""

    at: datetime
    request_id: str
    organization_id: str | None
    project_id: str | None
    app_id: str | None
    key_id: str | None
    route: str
    method: str
    status: int
    code: str | None
    latency_ms: float
    request_bytes: int
    response_bytes: int


_COLUMNS: LiteralString = (
    "at, request_id, organization_id, project_id, app_id, key_id, route, method, status, code, latency_ms,"
    " request_bytes, response_bytes"
)


async def make_day_partition(connection: Connection, parent: str, day: str) -> None:
    """Make sure that there is a partition for a day, `YYYY-MM-DD` in UTC."""
    await change(
        connection,
        "SELECT make_day_partition(%(parent)s, %(day)s::date)",
        {"parent": parent, "day": day},
    )


async def insert_requests(connection: Connection, rows: Sequence[RequestRow]) -> None:
    """Add rows, all or none."""
    async with connection.cursor() as cursor, cursor.copy("COPY request_log (" + _COLUMNS + ") FROM STDIN") as copy:
        for row in rows:
            await copy.write_row(msgspec.structs.astuple(row))
