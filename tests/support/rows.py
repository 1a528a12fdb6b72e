"""Events on their way to rows: records as the edge makes them, and a database that takes them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row

from ingest.db.database import Database
from ingest.transport.contract import SCHEMA, Delivered, Topic
from tests.ingest.pipeline.batches import through


def delivered(body: bytes, *, first: int = 0, partition: int = 0, timestamp_ms: int = 1_000) -> list[Delivered]:
    """Return the records of a batch as a consumer gets them."""
    return [
        Delivered(Topic.EVENTS, partition, first + number, timestamp_ms, record.key, record.value, SCHEMA)
        for number, record in enumerate(through(body).records)
    ]


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[Database]:
    """Open a pool on a database."""
    database = Database(dsn, "test", connections_max=2, deadline_ms=20_000)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


def ask(dsn: str, query: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
    """Return the rows of a query."""
    with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as connection:
        cursor = connection.execute(query.encode(), parameters)
        return cursor.fetchall() if cursor.description else []
