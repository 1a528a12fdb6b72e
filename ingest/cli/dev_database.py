"""The embedded PostgreSQL of `ingest dev`: started, brought up to date, and given a demo app to begin with."""

import contextlib
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, LiteralString, NamedTuple

import click
import psycopg
from psycopg import sql

from ingest.settings_rules import VAULT_KEY_NAMES

DATABASE: Final = "ingest"
_STOP_S: Final = 12.0
_LOGINS: Final = {
    "ingest_dev_edge": "ingest_serving",
    "ingest_dev_notify": "ingest_notify",
    "ingest_dev_persist": "ingest_persist",
    "ingest_dev_forward": "ingest_forward",
}
"""Each with the one role whose rights it has, in the order of `DevDatabase`."""

_DEMO: Final[LiteralString] = """
    INSERT INTO organizations (id, name, contact) VALUES ('org_demo', 'Demo', 'demo@example.com')
        ON CONFLICT DO NOTHING;
    INSERT INTO projects (id, organization_id, name) VALUES ('prj_demo', 'org_demo', 'Demo') ON CONFLICT DO NOTHING;
    INSERT INTO apps (id, project_id, name, options) VALUES ('app_demo', 'prj_demo', 'Demo', '{
        "store_url_ios": "https://store.example.com/ios/app_demo",
        "store_url_android": "https://store.example.com/android/app_demo",
        "web_url": "https://www.example.com/",
        "forward": {
            "meta": {"enabled": true, "dataset_id": "1000000001"},
            "tiktok": {"enabled": true, "event_source_id": "DEMO0PIXEL"}
        }}') ON CONFLICT DO NOTHING;
"""


class DevDatabase(NamedTuple):
    """The same database for its users: its owner, and each kind of process."""

    owner_dsn: str
    serving_dsn: str
    notify_dsn: str
    persist_dsn: str
    forward_dsn: str


@contextlib.contextmanager
def dev_database(folder: Path) -> Iterator[DevDatabase]:
    """Run a PostgreSQL of our own over `folder`, its schema up to date."""
    try:
        from devservices.errors import DevServiceError  # noqa: PLC0415 - only a checkout has it
        from devservices.postgres import PostgresServer  # noqa: PLC0415
        from ingest.db.migrate import migrate  # noqa: PLC0415 - its libraries are for those who migrate
    except ImportError:
        raise click.ClickException(
            "`ingest dev` needs a checkout of the project for its PostgreSQL; set INGEST_POSTGRES_DSN instead"
        ) from None
    try:
        with PostgresServer(folder.absolute(), report=lambda line: click.echo(line, err=True)) as server:
            with contextlib.suppress(psycopg.errors.DuplicateDatabase):
                server.create_database(DATABASE)
            owner_dsn = server.dsn(DATABASE)
            migrate(owner_dsn)
            passwords = {login: secrets.token_urlsafe(24) for login in _LOGINS}
            with psycopg.connect(owner_dsn) as connection:
                connection.execute(_DEMO)
                for login, role in _LOGINS.items():
                    _login(connection, login, role, passwords[login])
            yield DevDatabase(owner_dsn, *(server.dsn(DATABASE, login, word) for login, word in passwords.items()))
    except DevServiceError as error:
        raise click.ClickException(str(error)) from None


@contextlib.contextmanager
def beside(*command: str, dsn: str) -> Iterator[None]:
    """Run another of our processes beside the serving one, as in production, on the database as it may use it.

    The system chooses its admin port, which a log line tells.
    """
    from devservices.child import Child  # noqa: PLC0415 - only a checkout has it

    withheld = {"INGEST_APPS_FILE"} | (set() if command[0] == "forward" else VAULT_KEY_NAMES)
    kept = {name: value for name, value in os.environ.items() if name not in withheld}
    env = {**kept, "INGEST_POSTGRES_DSN": dsn, "INGEST_ADMIN_PORT": "0"}
    child = Child([sys.executable, "-m", "ingest", *command], stdout=None, env=env)
    try:
        yield
    finally:
        child.stop(_STOP_S)


def _login(connection: psycopg.Connection, login: str, role: str, password: str) -> None:
    """Make a login with the rights of a role and no others, with a new password for this run."""
    names = {"login": sql.Identifier(login), "role": sql.Identifier(role), "password": sql.Literal(password)}
    with contextlib.suppress(psycopg.errors.DuplicateObject), connection.transaction():
        connection.execute(sql.SQL("CREATE ROLE {login} LOGIN").format(**names))
    connection.execute(sql.SQL("ALTER ROLE {login} PASSWORD {password}").format(**names))
    connection.execute(sql.SQL("GRANT {role} TO {login}").format(**names))
