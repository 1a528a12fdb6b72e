"""Events on their way to rows: records as the edge makes them, and a database that takes them."""

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import msgspec
import psycopg
from psycopg.rows import dict_row

from ingest.db.database import Database
from ingest.edge.intake import INTAKES
from ingest.pipeline.process import process
from ingest.registry.model import App
from ingest.transport.contract import SCHEMA, Delivered, Topic
from tests.ingest.pipeline.batches import LIMITS, TIME, request, through


def delivered(body: bytes, *, first: int = 0, partition: int = 0, timestamp_ms: int = 1_000) -> list[Delivered]:
    """Return the records of a batch as a consumer gets them."""
    return [
        Delivered(Topic.EVENTS, partition, first + number, timestamp_ms, record.key, record.value, SCHEMA)
        for number, record in enumerate(through(body).records)
    ]


def said(
    topic: Topic, statement: dict[str, Any], *, received_at: str = "2026-11-24T10:00:01.000Z", project: str = "prj_demo"
) -> Delivered:
    """Return the record of a statement or postback as a consumer gets it."""
    intake = next(each for each in INTAKES.values() if each.topic is topic)
    app = App(id="app_demo", project_id=project, organization_id="org_demo")
    sender = msgspec.structs.replace(request(app=app), received_at=received_at)
    sent = {"timestamp": TIME, **statement}
    batch = intake.decode(json.dumps(sent).encode(), LIMITS)
    (record,) = process(batch, sender, LIMITS, intake.check, proven=intake.proven).records
    return Delivered(topic, 0, 0, 1_000, record.key, record.value, SCHEMA)


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[Database]:
    """Open a pool on a database."""
    database = Database(dsn, "test", connections_max=2, deadline_ms=20_000)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@contextmanager
def as_persist(dsn: str) -> Iterator[str]:
    """Provide the DSN of a login that may do what the role `ingest_persist` may, and no more."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        name = f"{connection.info.dbname}_writer"
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'word' IN ROLE ingest_persist".encode())
    try:
        yield f"postgresql://{name}:word@{dsn.rpartition('@')[2]}"
    finally:
        ask(dsn, f"DROP ROLE {name}")


def ask(dsn: str, query: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
    """Return the rows of a query."""
    with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as connection:
        cursor = connection.execute(query.encode(), parameters)
        return cursor.fetchall() if cursor.description else []
