"""The faults: each breaks something under load, waits, and mends it; `rehearse` checks what must hold then."""

import asyncio
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient

from devservices.kafka_leaders import elect_preferred_leaders
from tests.faults.stage import PREFIX, WAITING, Fault, Scene, is_drained

TOPIC: Final = f"{PREFIX}events"
DELAY_S: Final = 0.15
_DISK_MIB: Final = 24


async def one_broker_killed(scene: Scene) -> None:
    """One of three brokers crashes and comes back."""
    await _killed(scene, 2)


async def two_brokers_killed(scene: Scene) -> None:
    """Two of three crash: fewer than the in-sync replicas that an acknowledgement needs."""
    await _killed(scene, 1, 2)


async def all_brokers_paused(scene: Scene) -> None:
    """All brokers freeze: connections stay, nobody answers."""
    async with _away(scene):
        await asyncio.sleep(scene.stage.pace.pause_s)


async def one_broker_silent(scene: Scene) -> None:
    """One broker accepts connections and never answers."""
    broker = scene.stage.cluster.brokers[0]
    scene.breaks()
    await asyncio.to_thread(broker.pause)
    await asyncio.sleep(scene.stage.pace.hold_s)
    await asyncio.to_thread(broker.resume)
    scene.mends()


async def rolling_restart(scene: Scene) -> None:
    """Each broker in turn is shut down in order and started again."""
    scene.breaks()
    for number in range(len(scene.stage.cluster.brokers)):
        await scene.stage.restart(number)
        await asyncio.sleep(1)
    scene.mends()


async def leaders_moved(scene: Scene) -> None:
    """Give a restarted broker the leadership of its partitions back, under load."""
    await scene.stage.restart(0)
    await asyncio.sleep(2)
    scene.breaks()
    await asyncio.to_thread(elect_preferred_leaders, scene.stage.cluster.brokers[1].port)
    await asyncio.sleep(scene.stage.pace.hold_s / 2)
    scene.mends()


async def slow_network(scene: Scene) -> None:
    """Every piece to and from the brokers is held back."""
    scene.breaks()
    for proxy in scene.stage.proxies:
        proxy.delay_s = DELAY_S
    await asyncio.sleep(scene.stage.pace.hold_s)
    for proxy in scene.stage.proxies:
        proxy.delay_s = 0.0
    scene.mends()


async def topic_deleted(scene: Scene) -> None:
    """Delete the topic, once all that is on it was read; the edge makes it anew and goes on."""
    await scene.load.pause()
    await _all_seen(scene)
    scene.breaks()
    admin = AIOKafkaAdminClient(bootstrap_servers=scene.stage.cluster.bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([TOPIC])
    finally:
        await admin.close()
    scene.load.resume()
    await asyncio.sleep(scene.stage.pace.hold_s)
    scene.mends()


async def edge_stopped(scene: Scene) -> None:
    """SIGTERM under load with Kafka up, and a new edge in its place."""
    scene.breaks()
    took_s = await scene.stop()
    await scene.start_again()
    scene.mends()
    scene.notes.append(f"exit after {took_s:.1f} s")


async def edge_stopped_without_kafka(scene: Scene) -> None:
    """SIGTERM under load with Kafka away, and a new edge in its place."""
    async with _away(scene):
        await asyncio.sleep(2)
        took_s = await scene.stop()
        await scene.start_again()
        await asyncio.sleep(1)
    scene.notes.append(f"exit after {took_s:.1f} s")


async def edge_killed(scene: Scene) -> None:
    """SIGKILL under load with Kafka up, again and again."""
    scene.breaks()
    for _ in range(scene.stage.pace.kills):
        await asyncio.sleep(0.3)
        await scene.kill()
        await scene.start_again()
    scene.mends()


async def edge_killed_without_kafka(scene: Scene) -> None:
    """SIGKILL under load with Kafka away, again and again."""
    async with _away(scene):
        for _ in range(scene.stage.pace.kills):
            await scene.until(lambda told: told[WAITING] > 0, "something is spooled")
            await asyncio.sleep(0.3)
            await scene.kill()
            await scene.start_again()


async def edge_killed_while_draining(scene: Scene) -> None:
    """SIGKILL under load in the middle of the drain, again and again."""
    scene.breaks()
    for _ in range(scene.stage.pace.kills):
        await scene.stage.pause()
        await scene.until(lambda told: told[WAITING] > 0, "something is spooled")
        await asyncio.sleep(0.5)
        await scene.stage.resume()
        with suppress(AssertionError):  # a drain may be over before it is met
            await scene.until(lambda told: is_drained(told) or told['ingest_spool_records{state="drained"}'] > 0, "", 3)
        await scene.kill()
        await scene.start_again()
    scene.mends()


async def disk_full(scene: Scene) -> None:
    """Fill the disk of the spool while Kafka is away, and free it: no restart is needed."""
    filler = scene.data_dir.parent / "filler"
    async with _away(scene):
        await scene.until(lambda told: told[WAITING] > 0, "something is spooled")
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"\0" * 65536):
                pass
        await scene.until(lambda told: told['ingest_publish_failures_total{reason="unavailable"}'] > 0, "a refusal")
        await asyncio.sleep(1)
        filler.unlink()
        spooled = (await scene.figures())[WAITING]
        await scene.until(lambda told: told[WAITING] > spooled, "events are spooled again")


async def byte_flipped(scene: Scene) -> None:
    """One byte in the spool changes while the edge is down: that chunk is reported, and nothing else is missing."""
    async with _away(scene):
        await scene.until(lambda told: told[WAITING] > 0, "something is spooled")
        await asyncio.sleep(2)
        await scene.load.pause()
        await scene.stop()
        scene.excused = flip_a_byte(scene.data_dir / "spool" / "0" / "log.db")
        await scene.start_again()
        scene.load.resume()
        await asyncio.sleep(1)
    await scene.recover()
    reported = (await scene.figures())['ingest_spool_records{state="set_aside"}']
    assert reported == scene.excused, f"{reported} records are reported as damaged, {scene.excused} are"
    scene.notes.append(f"{scene.excused} reported as damaged")


SCENES: Final[dict[str, Fault]] = {
    "one broker killed": one_broker_killed,
    "two brokers killed": two_brokers_killed,
    "all brokers paused": all_brokers_paused,
    "one broker silent": one_broker_silent,
    "rolling restart": rolling_restart,
    "leaders moved": leaders_moved,
    "slow network": slow_network,
    "topic deleted": topic_deleted,
    "edge stopped": edge_stopped,
    "edge stopped, Kafka away": edge_stopped_without_kafka,
    "edge killed": edge_killed,
    "edge killed, Kafka away": edge_killed_without_kafka,
    "edge killed, draining": edge_killed_while_draining,
    "disk full": disk_full,
    "byte flipped": byte_flipped,
}


def flip_a_byte(path: Path) -> int:
    """Change one byte in the middle of a chunk of a log that nobody has open; return how many records it holds."""
    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT record_count, sealed FROM chunk ORDER BY first_offset").fetchall()
    count, sealed = rows[len(rows) // 2]
    data = bytearray(path.read_bytes())
    at = data.find(sealed[20:60])
    assert at > 0, "the chunk is not in the database file"
    data[at] ^= 1
    path.write_bytes(data)
    return int(count)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a small file system in memory; needs root."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK_MIB}m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@asynccontextmanager
async def _away(scene: Scene) -> AsyncIterator[None]:
    """Freeze all brokers for the length of the block."""
    scene.breaks()
    await scene.stage.pause()
    try:
        yield
    finally:
        await scene.stage.resume()
    scene.mends()


async def _killed(scene: Scene, *numbers: int) -> None:
    scene.breaks()
    for number in numbers:
        await asyncio.to_thread(scene.stage.cluster.brokers[number].kill)
    await asyncio.sleep(scene.stage.pace.hold_s)
    await scene.stage.restart(*numbers)
    scene.mends()


async def _all_seen(scene: Scene) -> None:
    for _ in range(100):
        if all(event_id in scene.stage.watch.seen for event_id in scene.load.acknowledged()):
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{scene.name}: the consumer does not see what is on the topic")
