"""A shop that forwards its conversions, all of it as an operator sets it up: processes, commands, and what is left."""

import asyncio
import hashlib
import json
import subprocess
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer

from devservices.platforms.fake import FakePlatforms
from devservices.platforms.names import Platform
from ingest import conversion
from ingest.control.organizations import create_app, create_organization, create_project
from ingest.db.database import Connection
from ingest.registry.document import read_options
from ingest.setting import Secret
from ingest.transport.sealed import SealKeys
from ingest.vault.changes import put
from ingest.vault.seal import Place
from tests.integration.edge import run_command
from tests.integration.partner import Store
from tests.journey.caller import Answer, Caller
from tests.journey.waiting import until
from tests.support.control import KIM, operate
from tests.support.program import Program
from tests.support.rows import ask
from tests.support.service import ServiceProcess

CONTACT: Final = "ops@shop.example"
LOOK_MS: Final = 300
"""After so long what is parked is looked at again, here."""

_OPTIONS: Final = """
web_url = "https://{name}.example/"

[forward.meta]
enabled = true
dataset_id = "{dataset}"

[forward.tiktok]
enabled = true
event_source_id = "{pixel}"
"""


class Shop(NamedTuple):
    """An app that forwards to both platforms, and what it is called there."""

    organization: str
    project: str
    app: str
    dataset: str
    pixel: str
    tokens: dict[Platform, str]


def _options(name: str) -> str:
    return _OPTIONS.format(name=name, dataset=_dataset(name), pixel=_pixel(name))


def _dataset(name: str) -> str:
    return f"{int.from_bytes(name.encode()):010d}"


def _pixel(name: str) -> str:
    return f"{name.upper()}PIXEL"


def _shop(organization: str, project: str, name: str) -> Shop:
    tokens = {platform: f"{platform}-token-of-{name}" for platform in Platform}
    return Shop(organization, project, f"app_{name}", _dataset(name), _pixel(name), tokens)


class Operator(NamedTuple):
    """Somebody at the command line. `folder` is for files; `platforms` get to know each token that is handed in."""

    store: Store
    platforms: FakePlatforms
    folder: Path
    vault_key: str

    def run(self, *args: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        own = {"INGEST_POSTGRES_DSN": self.store.owner, "INGEST_VAULT_KEY": self.vault_key}
        return run_command(args, {**own, **platform_urls(self.platforms)}, stdin)

    def told(self, *args: str, stdin: str = "") -> Any:
        """Return the document that a command prints, which must succeed."""
        done = self.run(*args, "--json", stdin=stdin)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def shop(self, name: str) -> Shop:
        """Make an app and all that belongs to it, by commands."""
        path = self.folder / f"{name}.toml"
        path.write_text(_options(name), encoding="utf-8")
        organization = self.told("orgs", "create", "--name", name, "--contact", CONTACT)["id"]
        project = self.told("projects", "create", "--org", organization, "--name", name)["id"]
        options = ("--id", f"app_{name}", "--options", str(path))
        self.told("apps", "create", "--project", project, "--name", name, *options)
        shop = _shop(organization, project, name)
        for platform, token in shop.tokens.items():
            self.hand_in("put", shop, platform, token)
        return shop

    def shops(self, *names: str) -> list[Shop]:
        """Make apps as `shop` does, by what is behind the commands: a process for each step takes its time."""
        return [operate(self.store.owner, partial(self._made, name)) for name in names]

    async def _made(self, name: str, connection: Connection) -> Shop:
        organization = await create_organization(connection, name, CONTACT, KIM)
        project = await create_project(connection, organization, name, KIM)
        options = read_options(tomllib.loads(_options(name)))
        await create_app(connection, project, name, KIM, app_id=f"app_{name}", options=options)
        shop, keys = _shop(organization, project, name), SealKeys.parse(self.vault_key)
        for platform, token in shop.tokens.items():
            self._admit(shop, platform, token)
            await put(connection, keys, Place(shop.app, conversion.Platform(platform)), Secret(token), KIM)
        return shop

    def _admit(self, shop: Shop, platform: Platform, token: str) -> None:
        self.platforms.access.admit(platform, token, shop.dataset if platform is Platform.META else shop.pixel)

    def hand_in(self, how: str, shop: Shop, platform: Platform, token: str) -> None:
        """Have the platform know a token, and put it into the vault."""
        self._admit(shop, platform, token)
        self.told("vault", how, "--app", shop.app, "--platform", platform, stdin=token)

    def destinations(self, app: str) -> dict[str, tuple[str, str]]:
        """Return state and reason of an app's platforms, as the status tells them."""
        told = self.told("forward", "status", "--app", app)["destinations"]
        return {each["platform"]: (each["state"], each["reason"]) for each in told}


class Stage(NamedTuple):
    """The processes at work."""

    edge: ServiceProcess
    forward: Program
    operator: Operator
    bootstrap: str
    prefix: str

    def send(self, shop: Shop, path: str, body: Mapping[str, Any], **headers: str) -> Answer:
        """Send something of an app's; it must be taken."""
        named: dict[str, str | bytes] = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = Caller(self.edge.url).send("POST", path, json.dumps({"app_id": shop.app, **body}).encode(), named)
        assert answer.status == 202, answer.raw
        return answer

    def buy(self, shop: Shop, *event_ids: str, **members: Any) -> None:
        """Send purchases by somebody whom both platforms can find."""
        one = {"event": "purchase_success", "timestamp": now(), "platform": "web", "url": "https://shop.example/"}
        worth = {"revenue": 5, "currency": "EUR", "app_user_id": "ann", **members}
        self.send(shop, "/events", {"events": [{**one, **worth, "event_id": each} for each in event_ids]})

    def ends(self, app: str | None = None) -> list[tuple[str, str, str, str]]:
        """Return how deliveries ended: event, platform, fate and reason, sorted."""
        rows = ask(self.operator.store.owner, "SELECT app_id, event_id, platform, fate, reason FROM deliveries")
        names = ("event_id", "platform", "fate", "reason")
        return sorted(tuple(row[name] for name in names) for row in rows if app in {None, row["app_id"]})

    def taken(self) -> list[tuple[str, str, str]]:
        """Return what counts at the platforms: platform, destination and event id, sorted."""
        return sorted(
            (each.platform, each.destination, each.event_id) for each in self.operator.platforms.ledger.events()
        )

    def readable(self, topic: str) -> list[bytes]:
        """Return keys and values of all that somebody reads of a topic who begins at its beginning."""
        return asyncio.run(_readable(self.bootstrap, self.prefix + topic))


@contextmanager
def at_work(folder: Path, bootstrap: str, prefix: str, operator: Operator) -> Iterator[Stage]:
    """Run an edge, and what persists and forwards, each with the rights of its own on the database."""
    store = operator.store
    common = {
        "INGEST_KAFKA_BOOTSTRAP": bootstrap,
        "INGEST_KAFKA_ALLOW_SINGLE_COPY": "true",
        "INGEST_TOPIC_PREFIX": prefix,
        "INGEST_SPOOL_KEY": SealKeys.generate(),
    }

    def settings(name: str, dsn: str, **more: str) -> dict[str, str]:
        return {**common, "INGEST_POSTGRES_DSN": dsn, "INGEST_DATA_DIR": str(folder / name / "data"), **more}

    forwarding = {
        **settings("forward", store.forward, INGEST_VAULT_KEY=operator.vault_key),
        **platform_urls(operator.platforms),
        "INGEST_FORWARD_PARKED_LOOK_MS": str(LOOK_MS),
    }
    with (
        ServiceProcess(settings("edge", store.serving), folder=folder / "edge") as edge,
        Program("persist", settings=settings("persist", store.persist), folder=folder / "persist") as persist,
        Program("forward", settings=forwarding, folder=folder / "forward") as forward,
    ):
        until(lambda: ask(store.owner, "SELECT count(*) AS n FROM forward_workers") == [{"n": 1}])
        yield Stage(edge, forward, operator, bootstrap, prefix)

        assert (forward.stop(), persist.stop()) == (0, 0), forward.output_path.read_text()


def platform_urls(platforms: FakePlatforms) -> dict[str, str]:
    """Return the settings by which platforms are found."""
    return {"INGEST_META_URL": platforms.meta_url, "INGEST_TIKTOK_URL": platforms.tiktok_url}


def now() -> str:
    """Return the time as a client writes it, in whole seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def digest(text: str) -> str:
    """Return a text's SHA-256 as platforms want it."""
    return hashlib.sha256(text.encode()).hexdigest()


async def _readable(bootstrap: str, topic: str) -> list[bytes]:
    async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        places = consumer.assignment()
        assert places, topic
        ends = await consumer.end_offsets(places)
        found: list[bytes] = []
        while any([await consumer.position(place) < ends[place] for place in places]):
            batches = await consumer.getmany(timeout_ms=500)
            found += [part for records in batches.values() for record in records for part in (record.key, record.value)]
        return found
