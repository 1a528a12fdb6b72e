"""Makes unreadable on Kafka what a consumer group is done with.

    commit ─▶ due ─ at most once a second ─▶ ask how far the group has come ─▶ DeleteRecords, to each leader

How far that is the brokers are asked each time, so no member deletes more than its group has committed, whatever it
lost to others meanwhile, and what a member left that was killed is deleted by the next one that starts.

aiokafka's admin client could delete too, but it reads the metadata of every topic there is before each request, and
stops at the first partition that fails.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

import structlog
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import KafkaError, LeaderNotAvailableError, UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.admin import DeleteRecordsRequest
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.structs import TopicPartition

from ingest.transport.contract import Topic
from ingest.transport.kafka.connection import Connection

PAUSE_S: Final = 1.0
"""Shortest time between two deletions: what is committed meanwhile goes with the next one."""

PAUSE_MAX_S: Final = 30.0
"""Longest pause while deletions fail."""

ROUND_S: Final = 10.0
CLOSE_S: Final = 3.0
"""Longest time for what is still to be deleted at the end; the next start does what is left."""

METADATA_AGE_MS: Final = 30_000
_REQUEST_MS: Final = 4_000
_DISCONNECT_S: Final = 1.0

_log = structlog.get_logger(__name__)


class Forgetter:
    """Deletes behind the committed offsets of `group` on the topic `name`. It holds up nobody, and never gives up."""

    def __init__(
        self, connection: Connection, name: str, topic: Topic, group: str, *, pause_s: float = PAUSE_S
    ) -> None:
        self._connection = connection
        self._name = name
        self._topic = topic
        self._group = group
        self._pause_s = pause_s
        self._client: AIOKafkaClient | None = None
        self._coordinator: int | None = None
        self._deleted: dict[int, int] = {}
        self._wanted = 0
        self._met = 0
        self._wake = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self.fault = ""
        """Why nothing could be deleted the last time; empty where it could."""

    def start(self) -> None:
        """Begin with what was committed before."""
        self._running = asyncio.create_task(self._run())
        self.due()

    def due(self) -> None:
        """Have what is committed by now deleted soon."""
        self._wanted += 1
        self._wake.set()

    async def close(self) -> None:
        """Delete what is still to be deleted, as far as that can be done within `CLOSE_S`, and end."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self._running = None
        if self._met < self._wanted:
            await self._attempt(CLOSE_S)
        await self._disconnect()

    async def _run(self) -> None:
        pause_s = self._pause_s
        while True:
            await self._wake.wait()
            self._wake.clear()
            if await self._attempt(ROUND_S):
                pause_s = self._pause_s
            else:
                self._wake.set()
                pause_s = min(PAUSE_MAX_S, 2 * pause_s)
            await asyncio.sleep(pause_s)

    async def _attempt(self, within_s: float) -> bool:
        """Delete what is due; tell whether all of it went. Each new fault is logged."""
        wanted = self._wanted
        try:
            async with asyncio.timeout(within_s):
                await self._delete()
        except Exception as error:  # noqa: BLE001 - consuming goes on, and the next attempt may do better
            fault = type(error).__name__
            if fault != self.fault:
                _log.warning("records_not_forgotten", topic=self._topic.value, reason=fault)
            self.fault = fault
            await self._disconnect()
            return False
        self.fault = ""
        self._met = wanted
        return True

    async def _delete(self) -> None:
        """Ask how far the group has come, and delete what is new. Raises the first fault once all were asked."""
        client = await self._connected()
        committed = await self._committed(client)
        faults: list[KafkaError] = []
        by_leader: defaultdict[int, dict[int, int]] = defaultdict(dict)
        for partition, offset in committed.items():
            if offset <= 0 or offset == self._deleted.get(partition):
                continue
            leader = client.cluster.leader_for_partition(TopicPartition(self._name, partition))
            if leader is None or leader < 0:
                faults.append(LeaderNotAvailableError())
            else:
                by_leader[leader][partition] = offset
        for leader, offsets in by_leader.items():
            try:
                faults += await self._delete_at(client, leader, offsets)
            except KafkaError as error:
                faults.append(error)
        if faults:
            raise faults[0]

    async def _delete_at(self, client: AIOKafkaClient, leader: int, offsets: Mapping[int, int]) -> list[KafkaError]:
        request = DeleteRecordsRequest([(self._name, list(offsets.items()))], _REQUEST_MS)
        response: Any = await client.send(leader, request)
        faults = []
        for topic in response.topics:
            for partition, _, code, *_ in topic[1]:
                if code:
                    faults.append(for_code(code)())
                else:
                    self._deleted[partition] = offsets[partition]
        return faults

    async def _committed(self, client: AIOKafkaClient) -> dict[int, int]:
        """Return the committed offsets by partition, -1 where there is none."""
        partitions = client.cluster.partitions_for_topic(self._name)
        if not partitions:
            raise UnknownTopicOrPartitionError
        if self._coordinator is None:
            self._coordinator = await client.coordinator_lookup(CoordinationType.GROUP, self._group)
        request = OffsetFetchRequest(self._group, [(self._name, sorted(partitions))])
        response: Any = await client.send(self._coordinator, request)
        if code := getattr(response, "error_code", 0):
            raise for_code(code)
        committed = {}
        for topic in response.topics:
            for partition, offset, _, code, *_ in topic[1]:
                if code:
                    raise for_code(code)
                committed[partition] = offset
        return committed

    async def _connected(self) -> AIOKafkaClient:
        if self._client is None:
            self._client = AIOKafkaClient(
                metadata_max_age_ms=METADATA_AGE_MS, request_timeout_ms=_REQUEST_MS, **self._connection.arguments()
            )
            await self._client.bootstrap()
            await self._client.set_topics([self._name])
        return self._client

    async def _disconnect(self) -> None:
        """Drop the connections: the next attempt looks anew who leads and who coordinates."""
        client, self._client, self._coordinator = self._client, None, None
        if client is not None:
            await asyncio.wait({asyncio.create_task(client.close())}, timeout=_DISCONNECT_S)
