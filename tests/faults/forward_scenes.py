"""The faults on the way from Kafka to the platforms: each breaks something under load, waits, and mends it."""

import asyncio
from typing import Final

from devservices.platforms.behaviour import DeadToken, Ok, Silent, Status, Throttled
from devservices.platforms.names import Platform as Twin
from ingest.conversion import Platform
from tests.faults.consumer_scenes import (
    consumer_killed,
    consumers_rebalanced,
    database_killed,
    kafka_paused,
)
from tests.faults.forward_stage import APPS, ForwardFault, ForwardScene

LATENCY_MS: Final = 100
"""How long platforms take, where a kill is to meet calls under way."""

LOST_ANSWERS: Final = 8
CALL_TIMEOUT_MS: Final = 2_500
"""How long an answer is waited for where some never come."""

FLOOD_EVENTS: Final = 40
"""Events of each request while more comes than can be sent."""


async def platform_failing(one: ForwardScene) -> None:
    """Let a platform answer with HTTP 500 and a page in HTML; the other one gets what is for it meanwhile."""
    one.scene.breaks()
    one.platforms.script.add(Status(status=500), platform=Twin.META)
    await asyncio.sleep(one.scene.stage.pace.hold_s)
    await one.settle(platform=Platform.TIKTOK)
    one.platforms.script.clear()
    await one.mends()


async def answers_lost(one: ForwardScene) -> None:
    """Platforms take events and never answer, so nobody knows that they did."""
    one.scene.breaks()
    one.platforms.script.add(Silent(taken=True), calls=LOST_ANSWERS)

    async def holds() -> bool:
        return not one.platforms.script.orders()

    await one.until(holds, "all these answers are lost")
    one.repeats_max += sum(call.events for call in one.platforms.ledger.calls() if call.behaviour == "silent")
    await one.mends()


async def throttled(one: ForwardScene) -> None:
    """Both platforms take less: Meta with HTTP 400 and its codes, TikTok with code 40100."""
    one.scene.breaks()
    one.platforms.script.add(Throttled(code=4), platform=Twin.META, calls=2)
    one.platforms.script.add(Throttled(code=80004))
    await asyncio.sleep(one.scene.stage.pace.hold_s)
    one.platforms.script.clear()
    await one.mends()


async def token_dead(one: ForwardScene) -> None:
    """Let one app's token at one platform be dead until another is put; all others get what is for them at once."""
    app_id, other = APPS
    one.scene.breaks()
    one.platforms.script.add(DeadToken(), platform=Twin.META, token=one.tokens[app_id, Platform.META])
    await asyncio.sleep(one.scene.stage.pace.hold_s)
    await one.settle(platform=Platform.TIKTOK)
    await one.settle(app_id=other)
    await one.put_token(app_id, Platform.META, "another-token")
    await one.mends()


async def forwarder_killed(one: ForwardScene) -> None:
    """SIGKILL under load, again and again, with calls under way."""
    one.platforms.script.add(Ok(latency_ms=LATENCY_MS))
    await consumer_killed(one)


async def platform_away_in_a_flood(one: ForwardScene) -> None:
    """One platform is away while several times as much comes; memory does not grow with what waits."""
    await one.settle()
    before_mib = one.consumers.note_memory()
    one.scene.breaks()
    usual = one.scene.load.events
    one.scene.load.events = FLOOD_EVENTS
    one.platforms.script.add(Status(status=503), platform=Twin.META)
    await asyncio.sleep(one.scene.stage.pace.pause_s / 2)
    one.scene.load.events = usual
    await one.settle(platform=Platform.TIKTOK)
    one.platforms.script.clear()
    await one.mends()
    one.notes.append(f"{one.behind} waited, {before_mib:.0f} MiB before")


SETTINGS: Final[dict[str, dict[str, str]]] = {
    "answers lost": {"INGEST_FORWARD_CALL_TIMEOUT_MS": str(CALL_TIMEOUT_MS)},
}
"""What the process that forwards is told beside what it is told in all scenes."""

FORWARD_SCENES: Final[dict[str, ForwardFault]] = {
    "platform failing": platform_failing,
    "answers lost": answers_lost,
    "throttled": throttled,
    "token dead": token_dead,
    "forwarder killed": forwarder_killed,
    "forwarders rebalanced": consumers_rebalanced,
    "forwarding, Kafka paused": kafka_paused,
    "forwarding, database killed": database_killed,
    "flood, platform away": platform_away_in_a_flood,
}
