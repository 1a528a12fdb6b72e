"""What scenes of forwarding are played with: apps at two platforms, their twins over HTTP, and who sends to them."""

import asyncio
import http.client
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from devservices.platforms.fake import FakePlatforms
from devservices.ports import HOST
from devservices.postgres import PostgresServer
from ingest.control.organizations import create_app, create_organization, create_project
from ingest.conversion import Platform
from ingest.db.database import Connection
from ingest.db.migrate import migrate
from ingest.forward.deliver import EVENTS_MAX
from ingest.forward.destination import WIDTH_MAX
from ingest.registry.model import Forward, MetaForward, Options, TikTokForward
from ingest.setting import Secret
from ingest.transport.contract import Topic
from ingest.transport.sealed import SealKeys
from ingest.vault.changes import put
from ingest.vault.seal import Place
from ingest.wiring.transport import FORWARD_GROUP
from tests.faults.consumer_stage import ConsumerScene, DatabaseStage, make_login
from tests.faults.group import Group
from tests.faults.load import Sort
from tests.faults.programs import Programs
from tests.faults.stage import Scene, playing
from tests.support.control import KIM, operate
from tests.support.rows import ask

APPS: Final = ("app_one", "app_other")
DESTINATIONS: Final = len(APPS) * len(Platform)
AT_RISK_MAX: Final = DESTINATIONS * WIDTH_MAX * EVENTS_MAX
"""Events that can have been answered and not recorded when a process is killed: the documented bound."""

PARKED_LOOK_MS: Final = 500


class End(NamedTuple):
    """A row of the ledger `deliveries`: what it is of, how it ended, and when that was written, Unix time."""

    name: str
    app_id: str
    fate: str
    recorded_ms: float


def _bought(event_id: str, number: int) -> dict[str, object]:
    """Return a purchase by somebody whom both platforms know."""
    return {
        "event": "purchase_success",
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "event_id": event_id,
        "app_user_id": f"user-{number % 500}",
        "platform": "web",
        "email": f"user{number % 500}@example.com",
        "properties": {
            "revenue": 9.5 + number % 40,
            "currency": "EUR",
            "order_id": f"order-{number}",
            "product_id": [f"item-{number % 70}"],
            "$page_url": "https://shop.example/thanks",
        },
    }


BOUGHT: Final = Sort(APPS, _bought)


class ForwardScene(ConsumerScene):
    """Every conversion that was acknowledged must be taken by both platforms; each is named by its event and one."""

    def __init__(
        self,
        scene: Scene,
        postgres: PostgresServer,
        owner_dsn: str,
        consumers: Programs,
        group: Group,
        *,
        platforms: FakePlatforms,
        vault_keys: SealKeys,
    ) -> None:
        super().__init__(scene, postgres, owner_dsn, consumers, group)
        self.platforms = platforms
        self.tokens: dict[tuple[str, Platform], str] = {}
        self.notes: list[str] = []
        self.repeats_max = 0
        """How often conversions may have been taken again, by what was done in this scene but for kills."""
        self._at_risk: dict[str, int] = {}
        self._vault_keys = vault_keys
        self._kafka = scene.stage.cluster.bootstrap

    def expected(self) -> frozenset[str]:
        """See `ConsumerScene.expected`."""
        return frozenset(_both(self.scene.load.acknowledged()))

    def unknown(self) -> frozenset[str]:
        """Return what may come of events of which the client does not know what became of them."""
        return frozenset(_both(self.scene.load.unanswered()))

    async def stored(self) -> list[str]:
        """See `ConsumerScene.stored`: what has a row in the ledger."""
        return [end.name for end in await self.ends()]

    async def ends(self) -> list[End]:
        """Return how all deliveries ended by now."""
        query = """
            SELECT event_id || ' ' || platform AS name, app_id, fate,
                extract(epoch FROM recorded_at)::float8 * 1000 AS recorded_ms
            FROM deliveries
        """
        return [End(**row) for row in await asyncio.to_thread(ask, self.owner_dsn, query)]

    def takes_ms(self) -> dict[str, list[int]]:
        """Return when each conversion was taken, each time, Unix time."""
        return {f"{key.event_id} {key.platform}": times for key, times in self.platforms.ledger.takes_ms().items()}

    async def settle(self, *, app_id: str | None = None, platform: Platform | None = None) -> None:
        """Wait until all that is acknowledged by now, of one app or for one platform, has ended."""
        names = frozenset(
            name
            for sent in self.scene.load.ledger
            if sent.status == 202 and app_id in {None, sent.app_id}
            for name in _both(map(self.scene.load.event_id, sent.numbers))
            if platform is None or name.endswith(platform)
        )

        async def holds() -> bool:
            return names.issubset(await self.stored())

        await self.until(holds, f"what is for {app_id or platform} ends")

    async def put_token(self, app_id: str, platform: Platform, token: str) -> None:
        """Hand in a token, as an operator does."""

        async def work(connection: Connection) -> None:
            await put(connection, self._vault_keys, Place(app_id, platform), Secret(token), KIM)

        await asyncio.to_thread(operate, self.owner_dsn, work)
        self.tokens[app_id, platform] = token

    async def killed(self, number: int) -> None:
        """See `ConsumerScene.killed`: what was taken and not recorded may be taken again, and is not much."""
        await super().killed(number)
        await asyncio.to_thread(_all_read, self.platforms)
        recorded = frozenset(await self.stored())
        at_risk = {name: len(times) for name, times in self.takes_ms().items() if name not in recorded}
        assert len(at_risk) <= AT_RISK_MAX
        self._at_risk |= at_risk

    def repeats_allowed(self) -> int:
        """Return how often conversions may have been taken again: once for each time without a row at a kill."""
        return self.repeats_max + sum(self._at_risk.values())

    async def readable(self) -> int:
        """Return how many records of conversions can still be read from Kafka."""
        names = [f"{self.scene.service.settings['INGEST_TOPIC_PREFIX']}{topic}" for topic in _TOPICS]
        async with AIOKafkaConsumer(bootstrap_servers=self._kafka) as consumer:
            await consumer._client.force_metadata_update()
            places = [
                TopicPartition(name, each) for name in names for each in consumer.partitions_for_topic(name) or ()
            ]
            assert places
            first, end = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        return sum(end[place] - first[place] for place in places)


_TOPICS: Final = (Topic.FORWARD, Topic.FORWARD_PARKED)

ForwardFault = Callable[[ForwardScene], Awaitable[None]]


@asynccontextmanager
async def forwarding(stage: DatabaseStage, name: str, more: Mapping[str, str]) -> AsyncIterator[ForwardScene]:
    """Start an edge over a database with apps that forward, the platforms, and one process that forwards.

    That process gets `more` settings. Half as many events come as in other scenes, since each goes two ways.
    """
    slug = name.replace(" ", "-").replace(",", "")
    postgres, brokers = stage.postgres, stage.stage.cluster
    owner_dsn = await asyncio.to_thread(postgres.create_database, slug)
    await asyncio.to_thread(migrate, owner_dsn)
    await asyncio.to_thread(operate, owner_dsn, _make_apps)
    topics = {"INGEST_TOPIC_PREFIX": f"{slug}."}
    apps = {"INGEST_POSTGRES_DSN": postgres.dsn(slug, *await make_login(owner_dsn, "ingest_serving"))}
    vault_key = SealKeys.generate()
    with FakePlatforms(events_kept=1_000) as platforms:
        async with (
            playing(stage.stage, name, settings=topics, apps=apps, sort=BOUGHT) as scene,
            Group(brokers.bootstrap, f"{slug}.{FORWARD_GROUP}") as group,
        ):
            settings = {
                **topics,
                "INGEST_KAFKA_BOOTSTRAP": brokers.bootstrap,
                "INGEST_SPOOL_KEY": scene.service.settings["INGEST_SPOOL_KEY"],
                "INGEST_POSTGRES_DSN": postgres.dsn(slug, *await make_login(owner_dsn, "ingest_forward")),
                "INGEST_VAULT_KEY": vault_key,
                "INGEST_META_URL": platforms.meta_url,
                "INGEST_TIKTOK_URL": platforms.tiktok_url,
                "INGEST_FORWARD_PARKED_LOOK_MS": str(PARKED_LOOK_MS),
                **more,
            }
            consumers = Programs("forward", settings, stage.stage.folder / slug)
            played = ForwardScene(
                scene, postgres, owner_dsn, consumers, group, platforms=platforms, vault_keys=SealKeys.parse(vault_key)
            )
            scene.load.events = max(1, scene.load.events // len(Platform))
            for app_id in APPS:
                for platform in Platform:
                    await played.put_token(app_id, platform, f"token-{app_id}-{platform}")
            try:
                await consumers.start()
                yield played
            finally:
                await consumers.kill_all()


async def _make_apps(connection: Connection) -> None:
    organization_id = await create_organization(connection, "Acme", "ops@acme.example", KIM)
    project_id = await create_project(connection, organization_id, "Shop", KIM)
    for number, app_id in enumerate(APPS):
        meta = MetaForward(enabled=True, dataset_id=f"100{number}")
        tiktok = TikTokForward(enabled=True, event_source_id=f"PIXEL{number}")
        options = Options(forward=Forward(meta, tiktok))
        await create_app(connection, project_id, app_id, KIM, app_id=app_id, options=options)


def _both(event_ids: Iterable[str]) -> list[str]:
    return [f"{event_id} {platform}" for event_id in event_ids for platform in Platform]


def _all_read(platforms: FakePlatforms) -> None:
    """Return once the platforms have read what was sent to them: by then two further requests have been answered."""
    for _ in range(2):
        connection = http.client.HTTPConnection(HOST, platforms.port, timeout=20)
        connection.request("GET", "/_health")
        connection.getresponse().read()
        connection.close()
