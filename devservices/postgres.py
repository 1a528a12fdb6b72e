"""A real PostgreSQL on this machine, kept between runs of `ingest dev`, or made to be hurt and thrown away by tests."""

import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote, urlsplit

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from devservices.account import Account, within_reach
from devservices.child import Child
from devservices.errors import StartFailed
from devservices.ports import HOST
from devservices.postgres_programs import Programs, copy_for_all, find_programs, open_to_all
from devservices.server import Server

SUPERUSER = "postgres"
INITDB_TIMEOUT_S = 60
_CONNECT_TIMEOUT_S = 2
_PASSWORD_BYTES = 24
# Neither statements nor values of a client get into the log, and nothing listens or lies outside the data folder.
_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "dynamic_shared_memory_type": "mmap",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class PostgresServer(Server):
    """One PostgreSQL over `folder`: its data in `data`, the superuser's random password in `password` (mode 0600).

    The first start makes the data, which `report` hears of in one line; later ones find them. Not `durable`, it leaves
    out fsync: data then outlive its own crashes, but not the machine's. Started by root it runs as an account without
    rights, which owns the data. ProgramMissing if there is no PostgreSQL 15 or newer, or not the data's version.
    """

    name: ClassVar[str] = "PostgreSQL"
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT  # its fast shutdown, which does not wait for clients
    error_marks: ClassVar[tuple[str, ...]] = ("FATAL: ", "PANIC: ", "ERROR: ")

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        durable: bool = True,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__(folder, port)
        self._durable = durable
        self._report = report
        self._data = self.folder / "data"
        self._password_path = self.folder / "password"
        self._account = Account.unprivileged()
        self._programs: Programs | None = None
        self._copy: tempfile.TemporaryDirectory[str] | None = None

    def dsn(self, database: str = "postgres", user: str = SUPERUSER, password: str | None = None) -> str:
        """Return `postgresql://user:password@127.0.0.1:port/database`; without a password the superuser's stands."""
        word = self._password_path.read_text(encoding="ascii") if password is None else password
        return f"postgresql://{quote(user, '')}:{quote(word, '')}@{HOST}:{self.port}/{quote(database, '')}"

    @property
    def superuser_dsn(self) -> str:
        """The address of the database `postgres` for the superuser."""
        return self.dsn()

    def create_database(self, name: str) -> str:
        """Create an empty database and return its DSN for the superuser; psycopg.Error if there is one of that name."""
        return create_database(self.superuser_dsn, name)

    def _prepare(self) -> None:
        self._clean()
        programs = find_programs(self._data_major(), for_all=self._account is not None)
        if self._account is not None and not open_to_all(programs):
            programs, self._copy = copy_for_all(programs)
        self._programs = programs
        if self._data_major() is None:
            self._report(f"creating a database of PostgreSQL {programs.major}, once")
            self._make_data(programs)

    def _clean(self) -> None:
        if self._copy is not None:
            self._copy.cleanup()
            self._copy = None

    def _launch(self, log: Path) -> Child:
        if self._programs is None:
            raise StartFailed("PostgreSQL was never started")
        settings = {**_SETTINGS, "port": str(self.port), "fsync": "on" if self._durable else "off"}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with within_reach(self._account, self._data) as ((data,), descriptors):
            return self._child_of([self._programs.postgres, "-D", data, *options], log, descriptors)

    def _answers(self, child: Child) -> bool:
        """Log in: a stranger on the port does not know the password."""
        if not child.running:
            return False
        try:
            psycopg.connect(self.superuser_dsn, connect_timeout=_CONNECT_TIMEOUT_S).close()
        except psycopg.OperationalError:
            return False
        return True

    def _data_major(self) -> int | None:
        """Return the major version of the data; None if there are none yet."""
        try:
            return int((self._data / "PG_VERSION").read_text(encoding="ascii"))
        except FileNotFoundError:
            return None

    def _make_data(self, programs: Programs) -> None:
        """Fill a folder beside `data` and rename it, so that an interrupted start leaves no half-made data."""
        staging = self.folder / "data.new"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700)
        self._password_path.unlink(missing_ok=True)
        self._password_path.touch(mode=0o600)
        self._password_path.write_text(secrets.token_urlsafe(_PASSWORD_BYTES), encoding="ascii")
        if self._account is not None:
            for path in (staging, self._password_path):
                os.chown(path, *self._account)
        options = ["--auth=scram-sha-256", f"--username={SUPERUSER}", "--encoding=UTF8", "--locale=C"]
        options += ["--no-instructions"] if self._durable else ["--no-instructions", "--no-sync"]
        log = self.folder / "initdb.log"
        with within_reach(self._account, staging, self._password_path) as ((data, password), descriptors):
            command = [programs.initdb, "-D", data, f"--pwfile={password}", *options]
            child = self._child_of(command, log, descriptors)
        try:
            code = child.wait(INITDB_TIMEOUT_S)
        finally:
            child.kill()
        if code != 0:
            raise StartFailed(f"the data folder could not be made (exit code {code}); see {log}")
        staging.rename(self._data)

    def _child_of(self, command: list[str], log: Path, descriptors: Sequence[int]) -> Child:
        """Start one of PostgreSQL's programs, without the variables by which it would be told something else."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        # It returns to where it was started from, which its account must be able to.
        return Child(command, stdout=log, env=env, cwd=Path("/"), account=self._account, pass_fds=descriptors)


def create_database(superuser_dsn: str, name: str) -> str:
    """Create an empty database on the server of `superuser_dsn` and return the same DSN for it."""
    _execute(superuser_dsn, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    if "://" not in superuser_dsn:
        return make_conninfo(superuser_dsn, dbname=name)
    return urlsplit(superuser_dsn)._replace(path=f"/{quote(name, '')}").geturl()


def drop_database(superuser_dsn: str, name: str) -> None:
    """Drop a database, its clients' connections included; does nothing if there is none of that name."""
    _execute(superuser_dsn, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _execute(superuser_dsn: str, statement: sql.Composed) -> None:
    with psycopg.connect(superuser_dsn, autocommit=True, connect_timeout=_CONNECT_TIMEOUT_S) as connection:
        connection.execute(statement)
