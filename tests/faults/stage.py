"""What a rehearsal plays on: three brokers behind proxies, an edge, a steady load, and an independent consumer."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from devservices.kafka import KafkaCluster
from ingest.transport.sealed import SealKeys
from tests.faults.load import OPENED, Load, Sort
from tests.faults.proxy import SlowProxy
from tests.faults.watch import Watch
from tests.integration.edge import figures, memory, registry
from tests.support.service import ServiceProcess

PREFIX: Final = "sdk."
BROKERS: Final = 3
RECOVER_S: Final = 90.0
"""Longest wait until an edge has drained its spool and trusts Kafka again."""

ARRIVE_S: Final = 30.0
_TICK_S: Final = 0.1

Figures = dict[str, float]


class Pace(NamedTuple):
    """How long things last, in seconds, how much is sent, and how often a process is killed in each state."""

    before_s: float = 3.0
    hold_s: float = 6.0
    pause_s: float = 30.0
    lock_s: float = 70.0
    after_s: float = 4.0
    requests_per_s: float = 60.0
    events: int = 10
    kills: int = 10


class Stage:
    """The brokers and the consumer, shared by all scenes of a rehearsal."""

    def __init__(self, folder: Path, cluster: KafkaCluster, proxies: list[SlowProxy], watch: Watch, pace: Pace) -> None:
        self.folder = folder
        self.cluster = cluster
        self.proxies = proxies
        self.watch = watch
        self.pace = pace

    async def pause(self) -> None:
        """Freeze all brokers."""
        for broker in self.cluster.brokers:
            await asyncio.to_thread(broker.pause)

    async def resume(self) -> None:
        """Let all brokers go on."""
        for broker in self.cluster.brokers:
            await asyncio.to_thread(broker.resume)

    async def restart(self, *numbers: int) -> None:
        """Start brokers again, together, and wait until they serve: without a quorum none does."""
        await asyncio.gather(*(asyncio.to_thread(self.cluster.brokers[number].restart, 90) for number in numbers))


@contextmanager
def brokers(folder: Path) -> Iterator[tuple[KafkaCluster, list[SlowProxy]]]:
    """Run the cluster, every broker reached through a proxy."""
    proxies: dict[int, SlowProxy] = {}

    def advertised(port: int) -> int:
        proxies[port] = SlowProxy(port)
        return proxies[port].port

    cluster = KafkaCluster(folder, BROKERS, advertised=advertised)
    try:
        with cluster:
            yield cluster, list(proxies.values())
    finally:
        for proxy in proxies.values():
            proxy.close()


class Scene:
    """One edge under load, and the moments of what was done to it. `spools` is its data folder."""

    def __init__(self, stage: Stage, name: str, service: ServiceProcess, load: Load, data_dir: Path) -> None:
        self.stage = stage
        self.name = name
        self.service = service
        self.load = load
        self.data_dir = data_dir
        self.broken_s = 0.0
        self.mended_s = 0.0
        self.recovered_s = 0.0
        self.waiting_max = 0.0
        self.excused = 0
        """Events that may be missing, because the edge itself reported them as damaged."""
        self.peak_mib = 0.0
        self.notes: list[str] = []

    def breaks(self) -> None:
        """Note the moment at which something is broken."""
        self.broken_s = time.monotonic()

    def mends(self) -> None:
        """Note the moment at which it is whole again."""
        self.mended_s = time.monotonic()

    async def figures(self) -> Figures:
        """Return the edge's figures."""
        return await asyncio.to_thread(figures, self.service)

    async def until(self, holds: Callable[[Figures], bool], what: str, within_s: float = RECOVER_S) -> None:
        """Wait until the figures of the edge hold; fails when they do not in time."""
        deadline = time.monotonic() + within_s
        while not holds(told := await self.figures()):
            self.waiting_max = max(self.waiting_max, told[WAITING])
            assert time.monotonic() < deadline, f"{self.name}: not within {within_s} s: {what}"
            await asyncio.sleep(_TICK_S)

    async def recover(self) -> None:
        """Wait until the spool is empty and Kafka is trusted again."""
        await self.until(is_drained, "the spool is drained")
        self.recovered_s = time.monotonic()

    async def start_again(self) -> None:
        """Start the edge anew on the same ports and data, after it has ended."""
        self.note_memory()
        env, folder = self.service.settings, self.service.stdout_path.parent
        self.service = await asyncio.to_thread(lambda: ServiceProcess(env, folder=folder))

    async def kill(self) -> None:
        """Kill the edge as a crash would."""
        self.note_memory()
        await asyncio.to_thread(self.service.kill)

    async def stop(self) -> float:
        """Ask the edge to end, check that it ends well, and return how long that took."""
        self.note_memory()
        begun = time.monotonic()
        code = await asyncio.to_thread(self.service.stop)
        assert code == 0, f"{self.name}: the edge ended with exit code {code}"
        return time.monotonic() - begun

    def note_memory(self) -> None:
        """Keep the most memory that the edge ever had."""
        if self.service.running:
            self.peak_mib = max(self.peak_mib, memory(self.service.pid).peak_mib)


WAITING: Final = 'ingest_spool_records{state="waiting"}'


def is_drained(told: Figures) -> bool:
    """Tell whether nothing waits and new records go to Kafka."""
    return not told[WAITING] and not told["ingest_breaker_open"]


@asynccontextmanager
async def playing(
    stage: Stage,
    name: str,
    *,
    data_dir: Path | None = None,
    settings: Mapping[str, str] | None = None,
    apps: Mapping[str, str] | None = None,
    sort: Sort = OPENED,
) -> AsyncIterator[Scene]:
    """Start an edge with a spool of its own and provide a load of a `sort`; the edge ends with the block.

    `apps` is the setting of its registry; without one it knows the app of `OPENED`.
    """
    folder = stage.folder / name.replace(" ", "-")
    env = {
        **(apps or registry(folder)),
        "INGEST_KAFKA_BOOTSTRAP": stage.cluster.bootstrap,
        "INGEST_TOPIC_PREFIX": PREFIX,
        "INGEST_SPOOL_KEY": SealKeys.generate(),
        "INGEST_DATA_DIR": str(data_dir or folder / "data"),
        **(settings or {}),
    }
    service = await asyncio.to_thread(lambda: ServiceProcess(env, folder=folder))
    pace = stage.pace
    port = int(service.settings["INGEST_PORT"])
    load = Load(name.replace(" ", "-"), port, requests_per_s=pace.requests_per_s, events=pace.events, sort=sort)
    scene = Scene(stage, name, service, load, Path(env["INGEST_DATA_DIR"]))
    try:
        await scene.until(is_drained, "the edge begins well")
        yield scene
    finally:
        await asyncio.to_thread(scene.service.kill)


Fault = Callable[[Scene], Awaitable[None]]
