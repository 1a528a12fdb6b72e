"""Records of `forward` and `forward-parked`: forwarded, parked, taken up again, expired, or set aside."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from ingest.consume.step import Away, Poison
from ingest.conversion import Platform
from ingest.event import Record
from ingest.forward.outcome import Fate, Outcome
from ingest.forward.park import NO_ROOM, PARKED_MS_MAX, TOO_LATE, Parked
from ingest.forward.platforms.contract import Dead, Later
from ingest.forward.steps import ForwardStep, ParkedStep
from ingest.registry.model import Kills
from ingest.transport.contract import SCHEMA, Delivered, Topic
from ingest.transport.sealed import SealKeys
from tests.ingest.forward.world import BOTH, World, record

SENT = Outcome(Fate.SENT)
GAID = "cdda802e-fb9c-47ad-9866-0794d394c912"


class Stage:
    """Both steps over one world."""

    def __init__(self, **options: int) -> None:
        self.world = world = World(**options)
        self.forward = ForwardStep(world.forwarder, world.lot, world.clock)
        self.parked = ParkedStep(world.forwarder, world.lot, world.ledger, world.clock)

    def run(self, *values: bytes) -> Sequence[Poison]:
        """Do the step of `forward` with records of these values."""
        records = [Delivered(Topic.FORWARD, 0, at, 0, b"k", value, SCHEMA) for at, value in enumerate(values)]
        return asyncio.run(self._do(self.forward, records))

    def look(self) -> Sequence[Poison]:
        """Do the step of `forward-parked` with all that is there, as a consumer that starts where it stopped."""
        records = list(self.waiting)
        self.world.transport.records[Topic.FORWARD_PARKED].clear()
        return asyncio.run(self._do(self.parked, records))

    @property
    def waiting(self) -> Sequence[Delivered]:
        """What is parked."""
        return self.world.transport.records[Topic.FORWARD_PARKED]

    async def _do(self, step: ForwardStep | ParkedStep, records: Sequence[Delivered]) -> Sequence[Poison]:
        await self.world.transport.start()
        return await step.do(records)


def test_what_cannot_be_sent_is_parked_sealed() -> None:
    """No advertising id and no digest can be read there, only the identity of the event and where it goes."""
    stage = Stage()
    stage.world.meta.answers = [Dead("190")]

    poison = stage.run(record(to=BOTH, gaid=GAID, email_sha256=["ab" * 32]))

    assert poison == []
    (parked,) = stage.waiting
    assert GAID.encode() not in parked.value
    assert b"ab" * 32 not in parked.value
    told = msgspec.json.decode(parked.value, type=Parked)
    assert (told.key.event_id, told.key.platform) == ("e-1", Platform.META)
    assert stage.world.tiktok.taken == ["e-1"]


def test_what_was_parked_is_sent_once_it_can_be() -> None:
    """It is sent as it came, and then is nowhere any more."""
    stage = Stage()
    stage.world.meta.answers = [Dead("190")]
    stage.run(record(), record("e-2"))
    stage.world.clock.advance(61_000)

    assert stage.look() == []
    assert sorted(stage.world.meta.taken) == ["e-1", "e-2"]
    assert stage.waiting == []


def test_what_still_cannot_be_sent_goes_on_as_it_is() -> None:
    """It is not opened, and keeps the time at which it was first tried."""
    stage = Stage()
    stage.world.kills = Kills(global_=True)
    stage.run(record(), record("e-2"))
    before = [Record(each.key, each.value) for each in stage.waiting]

    stage.look()

    assert [Record(each.key, each.value) for each in stage.waiting] == before


def test_a_failed_try_keeps_its_first_time() -> None:
    """So that the last try is within the time for which platforms drop repeats."""
    stage = Stage()
    stage.world.meta.answers = [Dead("190"), Dead("190")]
    stage.run(record())
    begun = msgspec.json.decode(stage.waiting[0].value, type=Parked).begun_at_ms
    stage.world.clock.advance(61_000)

    stage.look()

    assert len(stage.world.meta.calls) == 2
    assert msgspec.json.decode(stage.waiting[0].value, type=Parked).begun_at_ms == begun


def test_what_the_platform_wants_later_is_not_opened_before() -> None:
    """However often it is looked at meanwhile; then it is sent."""
    stage = Stage()
    stage.world.meta.answers = [Later("http_503", after_s=600.0)]
    stage.run(record())
    before = [Record(each.key, each.value) for each in stage.waiting]
    for _ in range(5):
        stage.world.clock.advance(118_000)
        stage.look()
    assert [Record(each.key, each.value) for each in stage.waiting] == before
    assert stage.run(record("e-2")) == []
    assert len(stage.world.meta.calls) == 1

    stage.world.clock.advance(10_000)
    stage.look()
    assert sorted(stage.world.meta.taken) == ["e-1", "e-2"]


def test_what_waits_too_long_expires() -> None:
    """Killed or not, it ends by itself, once, and is counted."""
    stage = Stage()
    stage.world.kills = Kills(global_=True)
    stage.run(record())
    stage.world.clock.advance(PARKED_MS_MAX + 1)

    stage.look()

    assert stage.waiting == []
    assert stage.world.outcomes() == {"e-1": TOO_LATE}
    assert stage.world.counts == {(Platform.META, TOO_LATE): 1}


def test_parking_twice_does_not_send_twice() -> None:
    """After a crash between parking and committing a conversion is parked twice; it is sent once."""
    stage = Stage()
    stage.world.meta.answers = [Dead("190")]
    stage.run(record())
    stage.world.clock.advance(61_000)
    stage.run(record())
    assert len(stage.waiting) == 2
    stage.world.clock.advance(61_000)

    stage.look()

    assert stage.world.meta.taken == ["e-1"]
    assert stage.waiting == []


def test_there_is_an_end_to_what_is_parked() -> None:
    """Beyond the bound conversions expire and are counted, and what was there before keeps its place."""
    stage = Stage(parked_max=2)
    stage.world.kills = Kills(global_=True)
    stage.run(record("e-1"), record("e-2"))

    stage.run(record("e-3"))
    stage.look()

    assert stage.world.outcomes() == {"e-3": NO_ROOM}
    assert len(stage.waiting) == 2


def test_what_is_parked_again_takes_no_more_room() -> None:
    """However often it was tried without success, what comes still has the room that is left."""
    stage = Stage(parked_max=2)
    stage.world.meta.answers = [Dead("190")] * 4
    stage.run(record("e-1"))
    for _ in range(2):
        stage.world.clock.advance(61_000)
        stage.look()

    stage.run(record("e-2"))

    assert stage.world.outcomes() == {}
    assert len(stage.waiting) == 2


def test_nothing_is_done_where_parking_fails() -> None:
    """Then the same records are taken again."""
    stage = Stage()
    stage.world.meta.answers = [Later("http_500", after_s=60.0)]
    stage.world.transport.fail_next()

    with pytest.raises(Away):
        stage.run(record())
    stage.world.clock.advance(60_000)
    assert stage.run(record()) == []
    assert stage.world.meta.taken == ["e-1"]


def test_what_is_no_conversion_is_set_aside() -> None:
    """Its neighbours are sent."""
    stage = Stage()

    poison = stage.run(b"{", record(), b"\xff", b"[]", b'{"meta":{},"event":{}}')

    assert [(each.record.offset, each.reason) for each in poison] == [
        (0, "record_malformed"),
        (2, "record_malformed"),
        (3, "record_malformed"),
        (4, "record_malformed"),
    ]
    assert stage.world.meta.taken == ["e-1"]


def test_what_no_database_can_store_is_replaced() -> None:
    """U+0000 is legal in an id; its delivery is known by U+FFFD."""
    stage = Stage()

    assert stage.run(record("a\0b"), record("a\\u0000b")) == []
    assert list(stage.world.outcomes()) == ["a\ufffdb", "a\\u0000b"]


def test_a_parked_record_that_was_changed_is_set_aside() -> None:
    """A broken seal is no conversion."""
    stage = Stage()
    stage.world.kills = Kills(global_=True)
    stage.run(record())
    (parked,) = stage.waiting
    told = msgspec.json.decode(parked.value, type=Parked)
    broken = msgspec.structs.replace(told, sealed=told.sealed[:-8] + "AAAAAAA=")
    stage.world.transport.records[Topic.FORWARD_PARKED][:] = [parked._replace(value=msgspec.json.encode(broken))]
    stage.world.kills = Kills()

    poison = stage.look()

    assert [each.reason for each in poison] == ["seal_broken"]


def test_a_key_that_is_missing_holds_up_nobody_else() -> None:
    """What was sealed with it waits for its key."""
    stage = Stage()
    stage.world.kills = Kills(global_=True)
    stage.run(record())
    stage.world.lot._keys = SealKeys(b"x" * 32)
    stage.run(record("e-2"))
    stage.world.kills = Kills()

    assert stage.look() == []
    assert stage.world.meta.taken == ["e-2"]
    assert len(stage.waiting) == 1
