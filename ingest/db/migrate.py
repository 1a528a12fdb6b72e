"""Bringing the schema up to date: forward only, safe to run twice and from several processes at once."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, pool
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from ingest.db.database import DatabaseAway, connection_arguments

SCRIPTS: Final = Path(__file__).with_name("migrations")
_LOCK: Final = 0x1_9E57_ED6E
"""The advisory lock under which one process migrates a database while the others wait."""


class SchemaNewer(Exception):  # noqa: N818 - a state of the database, not a fault of ours
    """A later version of the service has migrated the database."""


def migrate(dsn: str) -> tuple[str | None, str | None]:
    """Apply what is missing, all in one transaction, and return the revisions before and after.

    Raises `DatabaseAway` where the database cannot be reached or is lost on the way, `SchemaNewer`, and
    `psycopg.errors.InsufficientPrivilege` where the role may not change the schema.
    """
    with _connected(dsn) as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        before = _revision(connection)
        if _is_newer(before):
            raise SchemaNewer
        config = Config()
        config.set_main_option("script_location", str(SCRIPTS))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        after = _revision(connection)
        connection.commit()
        return before, after


def pending(dsn: str) -> bool:
    """Tell whether the database lacks a migration. Raises as `migrate` does."""
    with _connected(dsn) as connection:
        revision = _revision(connection)
        return revision != newest() and not _is_newer(revision)


def newest() -> str | None:
    """Return the revision that this version of the service needs."""
    return ScriptDirectory(str(SCRIPTS)).get_current_head()


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _is_newer(revision: str | None) -> bool:
    known = {script.revision for script in ScriptDirectory(str(SCRIPTS)).walk_revisions()}
    return revision is not None and revision not in known


@contextlib.contextmanager
def _connected(dsn: str) -> Iterator[Connection]:
    """Yield a connection, and let errors be those of the driver."""

    def connect() -> psycopg.Connection:
        return psycopg.connect(dsn, **(connection_arguments(dsn, "ingest-migrate") | {"autocommit": False}))

    try:
        with create_engine("postgresql+psycopg://", creator=connect, poolclass=pool.NullPool).connect() as connection:
            yield connection
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.OperationalError | psycopg.InterfaceError):
            raise DatabaseAway("the database cannot be reached") from error
        raise (error.orig or error) from None
    except psycopg.OperationalError as error:
        raise DatabaseAway("the database cannot be reached") from error
