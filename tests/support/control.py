"""A control plane for tests: a migrated database, a login with the edge's rights, and what an operator makes in it."""

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, LiteralString, NamedTuple, TypeVar
from urllib.parse import quote, urlsplit

import psycopg
from psycopg import sql

from ingest.control.keys import SCOPES, create_key
from ingest.control.organizations import create_app, create_organization, create_project
from ingest.control.record import Actor
from ingest.control.secrets import hash_secret, mint
from ingest.db.database import Connection
from ingest.db.migrate import migrate

T = TypeVar("T")

KIM = Actor.operator("kim")


class Plane(NamedTuple):
    """A migrated database: `owner` may do anything there, `serving` is a login with the rights of an edge."""

    owner: str
    serving: str


class Customer(NamedTuple):
    """An organization with a project, an app, and a key that may do everything."""

    organization_id: str
    project_id: str
    app_id: str
    key_id: str
    key: str


@contextlib.contextmanager
def plane(owner_dsn: str) -> Iterator[Plane]:
    """Migrate a database and give an edge a login, which is dropped in the end where the database is still there."""
    migrate(owner_dsn)
    name, word = f"edge_{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    login = sql.Identifier(name)
    with psycopg.connect(owner_dsn, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE ingest_serving").format(login, sql.Literal(word))
        )
    parts = urlsplit(owner_dsn)
    yield Plane(owner_dsn, parts._replace(netloc=f"{name}:{quote(word)}@{parts.netloc.rpartition('@')[2]}").geturl())

    with (
        contextlib.suppress(psycopg.OperationalError),
        psycopg.connect(owner_dsn, autocommit=True, connect_timeout=2) as connection,
    ):
        connection.execute(sql.SQL("DROP ROLE {}").format(login))


def through(dsn: str, port: int) -> str:
    """Return the same address by way of another port of this machine."""
    parts = urlsplit(dsn)
    return parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}").geturl()


def execute(dsn: str, statement: LiteralString, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Run a statement as whoever `dsn` names, and return its rows if it has any."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else []


def operate(dsn: str, work: Callable[[Connection], Awaitable[T]]) -> T:
    """Do what an operator does, in one transaction."""

    async def transact() -> T:
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            return await work(connection)

    return asyncio.run(transact())


def customer(dsn: str, app_id: str, *, tier: str = "partner") -> Customer:
    """Make an organization with all that it needs."""
    key = mint("live")

    async def work(connection: Connection) -> Customer:
        organization_id = await create_organization(connection, "Acme", "ops@acme.example", KIM)
        project_id = await create_project(connection, organization_id, "Shop", KIM)
        await create_app(connection, project_id, "Shop", KIM, app_id=app_id)
        await create_key(connection, key, hash_secret(key.secret), organization_id, KIM, scopes=SCOPES, tier=tier)
        return Customer(organization_id, project_id, app_id, key.key_id, key.text())

    return operate(dsn, work)
