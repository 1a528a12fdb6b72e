"""What the tests of the partner surface share: a database and its logins, operators at work, and partners that call."""

import asyncio
import base64
import contextlib
import http.client
import json
import re
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, LiteralString, NamedTuple, TypeVar
from urllib.parse import quote, urlsplit

import psutil
import psycopg
import redis
from psycopg import sql

from devservices.postgres import create_database, drop_database
from devservices.valkey import ValkeyServer
from ingest.control.keys import SCOPES, create_key
from ingest.control.organizations import create_app, create_organization, create_project
from ingest.control.record import Actor
from ingest.control.secrets import PartnerKey, hash_secret, mint
from ingest.db.database import Connection
from ingest.db.migrate import migrate
from ingest.db.rows import Env
from ingest.registry.model import Options
from ingest.transport.contract import Delivered, Topic
from ingest.transport.local_source import LocalLogSource
from ingest.transport.sealed import SealKeys
from tests.integration.edge import Answer, await_true, connect, run_command
from tests.support.service import ServiceProcess

T = TypeVar("T")

ANNA = Actor.operator("anna")
WHY = ("--reason", "a test", "--actor", "anna")
CONTACT = "ops@partner.example"
RATE_HEADERS = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "x-ratelimit-endpoint-class")
LIMITS = {"standard": (120, 60), "pilot": (1_200, 600), "partner": (6_000, 3_000)}
"""Reads and writes of a minute, by tier."""


class Store(NamedTuple):
    """A migrated database: its owner may do anything, the others are logins with the rights of one role each."""

    owner: str
    serving: str
    notify: str
    persist: str
    forward: str


@contextlib.contextmanager
def open_store(superuser_dsn: str) -> Iterator[Store]:
    """Make a database and its logins; at the end all are gone."""
    name = f"t{uuid.uuid4().hex[:12]}"
    owner = create_database(superuser_dsn, name)
    try:
        migrate(owner)
        with (
            login(owner, "ingest_serving") as serving,
            login(owner, "ingest_notify") as notify,
            login(owner, "ingest_persist") as persist,
            login(owner, "ingest_forward") as forward,
        ):
            yield Store(owner, serving, notify, persist, forward)
    finally:
        drop_database(superuser_dsn, name)


@contextlib.contextmanager
def login(owner: str, role: str) -> Iterator[str]:
    """Make a login that is a member of one role, and yield its DSN; at the end it is gone."""
    name, word = f"{role}_{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    user, parts = sql.Identifier(name), urlsplit(owner)
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE {}").format(user, sql.Literal(word), sql.Identifier(role))
        )
    try:
        yield parts._replace(netloc=f"{name}:{quote(word)}@{parts.netloc.rpartition('@')[2]}").geturl()
    finally:
        with psycopg.connect(owner, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP ROLE {}").format(user))


class Tenant(NamedTuple):
    """An organization with one project and one app."""

    organization_id: str
    project_id: str
    app_id: str

    def batch(self, *events: Any, **root: Any) -> bytes:
        """Return a batch for the app."""
        named = {"projectId": self.project_id, "sdkAppId": self.app_id, "events": events}
        return json.dumps({**named, **root}).encode()


class Operators:
    """What people do beside the edge: by the commands, by the functions behind them, and by SQL."""

    def __init__(self, owner_dsn: str) -> None:
        self._dsn = owner_dsn

    def command(self, *args: str) -> Any:
        """Run an operators' command and return what it prints as JSON."""
        done = run_command([*args, "--json"], {"INGEST_POSTGRES_DSN": self._dsn})
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def do(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do a piece of work of `ingest.control` in one transaction."""

        async def transact() -> T:
            async with await psycopg.AsyncConnection.connect(self._dsn) as connection:
                return await work(connection)

        return asyncio.run(transact())

    def run(self, statement: LiteralString, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run a statement as the owner and return its rows."""
        with self.connect() as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def connect(self) -> psycopg.Connection:
        """Open a connection of the owner."""
        return psycopg.connect(self._dsn)

    def tenant(self, name: str = "Acme", **options: Any) -> Tenant:
        """Add an organization with a project and an app; `options` are the app's."""

        async def work(connection: Connection) -> Tenant:
            organization_id = await create_organization(connection, name, CONTACT, ANNA)
            project_id = await create_project(connection, organization_id, "Shop", ANNA)
            app = await create_app(connection, project_id, "Shop", ANNA, options=Options(**options))
            return Tenant(organization_id, project_id, app.id)

        return self.do(work)

    def key(
        self, organization_id: str, scopes: Sequence[str] = SCOPES, *, env: Env = "live", tier: str = "partner"
    ) -> PartnerKey:
        """Add a key."""
        key = mint(env)
        secret_hash = hash_secret(key.secret)
        self.do(
            lambda connection: create_key(connection, key, secret_hash, organization_id, ANNA, scopes=scopes, tier=tier)
        )
        return key

    def actions(self, target_id: str) -> list[str]:
        """Return what the audit log says was done to something, oldest first."""
        found = self.run("SELECT action FROM audit_events WHERE target_id = %s ORDER BY at, id", target_id)
        return [action for (action,) in found]

    def hash_of(self, key_id: str) -> str:
        """Return the stored hash of a key."""
        ((found,),) = self.run("SELECT secret_hash FROM api_keys WHERE id = %s", key_id)
        return str(found)


def site_settings(store: Store, valkey: ValkeyServer, **more: str) -> dict[str, str]:
    """Return the settings of an edge over both; `more` names settings without their prefix."""
    return {
        "INGEST_POSTGRES_DSN": store.serving,
        "INGEST_REDIS_URL": valkey.url,
        "INGEST_SPOOL_KEY": SealKeys.generate(),
        **{f"INGEST_{name}": value for name, value in more.items()},
    }


class Site(NamedTuple):
    """A running edge, its operators, and what stands behind it."""

    service: ServiceProcess
    operators: Operators
    valkey: ValkeyServer
    store: Store
    folder: Path

    def partner(self, key: PartnerKey | str) -> "Partner":
        """Return somebody who calls with a key."""
        return Partner(self.service.url, key if isinstance(key, str) else key.text())


class Partner(NamedTuple):
    """Somebody who calls with a key; `key` is what stands behind `Bearer`."""

    url: str
    key: str

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        line: "Line | None" = None,
        **headers: str,
    ) -> Answer:
        """Make one call, on a connection of its own where none is given; `headers` are named with `_` for `-`."""
        named = {"Authorization": f"Bearer {self.key}"} | {k.replace("_", "-"): v for k, v in headers.items()}
        if line is not None:
            return line.send(method, path, body, named)
        with contextlib.closing(connect(self.url)) as fresh:
            return exchange(fresh, method, path, body, named)

    def whoami(self, line: "Line | None" = None) -> Answer:
        """Ask who calls."""
        return self.call("GET", "/v1/whoami", line=line)


def exchange(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
) -> Answer:
    """Send one request on a connection, which stays open unless the answer ends it."""
    connection.request(method, path, body, dict(headers))
    response = connection.getresponse()
    text = response.read()
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, text, 0.0)


class Line:
    """A connection to one serving process, opened anew where an answer has ended it.

    All others stand still while it is opened, and that it is this process's is read from the system's table of sockets.
    """

    def __init__(self, service: ServiceProcess, process: psutil.Process) -> None:
        self._service = service
        self._process = process
        self._connection = self._open()

    def send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """Send one request."""
        if self._connection.sock is None:
            self._connection = self._open()
        return exchange(self._connection, method, path, body, headers)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def _open(self) -> http.client.HTTPConnection:
        others = [each for each in serving_processes(self._service) if each != self._process]
        connection = connect(self._service.url)
        for each in others:
            each.suspend()
        try:
            assert exchange(connection, "GET", "/health", None, {}).status == 200
        finally:
            for each in others:
                each.resume()
        own_port = connection.sock.getsockname()[1]
        assert own_port in {each.raddr.port for each in self._process.net_connections("tcp") if each.raddr}
        connection.auto_open = 0
        return connection


def serving_processes(service: ServiceProcess) -> list[psutil.Process]:
    """Return the processes that answer: the workers, or the service itself where it has none."""
    process = psutil.Process(service.pid)
    return [each for each in process.children() if each.status() != psutil.STATUS_ZOMBIE] or [process]


def worker_lines(service: ServiceProcess) -> dict[int, Line]:
    """Return a line to each serving process, by process id."""
    return {process.pid: Line(service, process) for process in serving_processes(service)}


def await_app(site: Site, app_id: str) -> None:
    """Wait until every worker knows a new app; what is sent for it is refused, so that nothing is stored."""

    def knows(line: Line) -> bool:
        return line.send("POST", "/events", b"{}", {"X-App-Id": app_id}).code != "UNAUTHENTICATED"

    for line in worker_lines(site.service).values():
        await_true(lambda line=line: knows(line), "the app is known")  # type: ignore[misc]
        line.close()


def dump_database(dsn: str) -> dict[str, list[str]]:
    """Return every row of every table, partitions included, as text."""
    with psycopg.connect(dsn) as connection:
        names = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace"
        ).fetchall()
        return {
            name: [
                text for (text,) in connection.execute(sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(name)))
            ]
            for (name,) in names
        }


def dump_valkey(url: str) -> dict[str, str]:
    """Return every key of Valkey and what it holds, as text. Only strings are expected there."""
    with redis.Redis.from_url(url) as client:
        names = sorted(client.scan_iter(count=1_000))
        assert {client.type(name) for name in names} <= {b"string"}
        return {name.decode("latin-1"): client.get(name).decode("latin-1") for name in names}


def read_log(folder: Path, keys: str, app_id: str) -> list[dict[str, Any]]:
    """Return what the local log holds of an app's events, also while the edge runs."""

    async def read() -> list[Delivered]:
        found: list[Delivered] = []
        source = LocalLogSource(folder / "log", SealKeys.parse(keys), Topic.EVENTS, None)
        await source.start()
        while some := await source.poll(10_000, 0):
            found.extend(some)
        await source.close()
        return found

    records = [json.loads(record.value) for record in asyncio.run(read())]
    return [record for record in records if record["meta"]["app_id"] == app_id]


def spellings(secret: str) -> Iterator[bytes]:
    """Return the ways in which a secret may be written: as it is, in hex, and in base64 at each alignment."""
    raw = secret.encode()
    yield raw
    yield raw.hex().encode()
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + raw)
        inner = coded[(0, 2, 3)[shift] : len(coded) - (4 if (len(raw) + shift) % 3 else 0)]
        yield inner
        yield inner.translate(bytes.maketrans(b"+/", b"-_"))


def is_rated(answer: Answer, endpoint_class: str, tier: str = "partner", *, seconds_max: int = 60) -> bool:
    """Tell whether an answer says where the key stands in its minute, within the bounds of its tier."""
    told = [answer.headers.get(name, "") for name in RATE_HEADERS]
    if not all(re.fullmatch("[0-9]+", each) for each in told[:3]):
        return False
    limit, remaining, reset_s = map(int, told[:3])
    holds = limit == LIMITS[tier][endpoint_class == "write"] and remaining <= limit and reset_s <= seconds_max
    return holds and told[3] == endpoint_class
