"""What scenes of rows are played with: persisting processes over a database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ingest.db.migrate import migrate
from ingest.persist.writer import CONSUMER
from tests.faults.consumer_stage import ConsumerScene, DatabaseStage, make_login
from tests.faults.group import Group
from tests.faults.programs import Programs
from tests.faults.stage import playing
from tests.support.rows import ask


class RowScene(ConsumerScene):
    """Every acknowledged event must become a row; both are named by the event's id."""

    def expected(self) -> frozenset[str]:
        """See `ConsumerScene.expected`."""
        return frozenset(self.scene.load.acknowledged())

    async def stored(self) -> list[str]:
        """See `ConsumerScene.stored`."""
        rows = await asyncio.to_thread(ask, self.owner_dsn, "SELECT event_id FROM events")
        return [row["event_id"] for row in rows]


@asynccontextmanager
async def persisting(stage: DatabaseStage, name: str) -> AsyncIterator[RowScene]:
    """Start an edge with topics of its own, a database, and one consumer with the rights of one."""
    slug = name.replace(" ", "-")
    postgres, brokers = stage.postgres, stage.stage.cluster
    owner_dsn = await asyncio.to_thread(postgres.create_database, slug)
    await asyncio.to_thread(migrate, owner_dsn)
    topics = {"INGEST_TOPIC_PREFIX": f"{slug}."}
    async with (
        playing(stage.stage, name, settings=topics) as scene,
        Group(brokers.bootstrap, f"{slug}.{CONSUMER}") as group,
    ):
        settings = {
            **topics,
            "INGEST_KAFKA_BOOTSTRAP": brokers.bootstrap,
            "INGEST_SPOOL_KEY": scene.service.settings["INGEST_SPOOL_KEY"],
            "INGEST_POSTGRES_DSN": postgres.dsn(slug, *await make_login(owner_dsn, "ingest_persist")),
        }
        consumers = Programs("persist", settings, stage.stage.folder / slug)
        try:
            await consumers.start()
            yield RowScene(scene, postgres, owner_dsn, consumers, group)
        finally:
            await consumers.kill_all()
