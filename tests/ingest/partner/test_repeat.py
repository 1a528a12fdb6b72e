"""A call with an idempotency key does its work once; a repeat is answered again, and what may be tried anew is free."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ingest.clock import FakeClock
from ingest.counters.cache import CacheAway
from ingest.counters.idempotency import KEPT_S, LEASE_S
from ingest.counters.memory_idempotency import MemoryIdempotency
from ingest.errors import Code, Refusal
from ingest.partner.call import Answer, Call, Fault, Replay
from ingest.partner.operations import OPERATIONS, Operation
from ingest.partner.repeat import Repeats
from ingest.transport.contract import Stored
from tests.ingest.partner.callers import STANDING, call, standing

BY_NAME = {operation.name: operation for operation in OPERATIONS}
KILL, TAKE, LIST = BY_NAME["killApiKey"], BY_NAME["takeEvents"], BY_NAME["listApiKeys"]
KEY = b"order-4711"


class Work:
    """A handler that keeps its calls, and answers or raises what it is told."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.outcome: Answer | BaseException = Answer(200, "done")
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, seen: Call) -> Answer:
        """Handle a call."""
        self.calls.append(seen)
        await self.gate.wait()
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    @property
    def done(self) -> int:
        """How often the work itself was done."""
        return sum(seen.replay is None for seen in self.calls)


class Away(MemoryIdempotency):
    """A store that is away for the calls that are named."""

    def __init__(self, *calls: str) -> None:
        super().__init__(FakeClock())
        for name in calls:
            setattr(self, name, self._raise)

    async def _raise(self, *_: Any) -> Any:
        raise CacheAway


class World:
    """Repeats over a store, a handler, and what came of it."""

    def __init__(self, store: MemoryIdempotency | None = None) -> None:
        self.clock = FakeClock()
        self.store = MemoryIdempotency(self.clock) if store is None else store
        self.repeats = Repeats(self.store)
        self.work = Work()

    async def send(
        self, seen: Call | None = None, key: bytes | None = KEY, operation: Operation = KILL
    ) -> tuple[Answer | Code, bool]:
        """Send a call, and return the answer, or the code of the refusal, and whether it counts as a repeat."""
        seen = call(b"{}", path={"keyId": "k"}) if seen is None else seen
        try:
            return await self.repeats.once(operation, self.work, seen, key), seen.facts.replayed
        except Refusal as refused:
            return refused.code, seen.facts.replayed


def run(story: Callable[[World], Awaitable[None]], store: MemoryIdempotency | None = None) -> None:
    """Run a story in a new world."""

    async def begin() -> None:
        await story(World(store))

    asyncio.run(begin())


def body(text: bytes) -> Call:
    """Return a call with another body."""
    return call(text, path={"keyId": "k"})


def test_the_first_call_works_and_a_repeat_is_derived() -> None:
    """The second call is handled with what is known of the first, and says that it is a repeat."""

    async def story(world: World) -> None:
        assert await world.send() == (Answer(200, "done"), False)
        assert await world.send() == (Answer(200, "done"), True)
        assert [seen.replay for seen in world.work.calls] == [None, Replay(200, None)]

    run(story)


def test_a_repeat_of_events_knows_their_promise() -> None:
    """What was promised for events is remembered, and nothing else of the answer."""

    async def story(world: World) -> None:
        world.work.outcome = Answer(202, "taken", Stored.SPOOLED)
        await world.send(operation=TAKE)
        await world.send(operation=TAKE)
        assert world.work.calls[1].replay == Replay(202, Stored.SPOOLED)
        assert world.work.done == 1

    run(story)


@pytest.mark.parametrize("operation", [KILL, LIST])
def test_without_a_key_every_call_works(operation: Operation) -> None:
    """A call without the header, or one that only reads, is not looked at."""

    async def story(world: World) -> None:
        key = None if operation is KILL else KEY
        for _ in range(2):
            assert await world.send(key=key, operation=operation) == (Answer(200, "done"), False)
        assert world.work.done == 2
        assert len(world.store) == 0

    run(story)


@pytest.mark.parametrize("key", [b"", b"a b", b"a\x00", b"\xff", b"x" * 256, "ü".encode()])
def test_what_cannot_be_a_key(key: bytes) -> None:
    """A header that is no key is refused, without its value, and nothing is done."""

    async def story(world: World) -> None:
        with pytest.raises(Refusal) as refused:
            await world.repeats.once(KILL, world.work, body(b""), key)
        assert refused.value.code is Code.VALIDATION
        message = "an idempotency key has 1 to 255 visible ASCII characters"
        assert (refused.value.details or {})["errors"] == [Fault("Idempotency-Key", message)]
        assert world.work.calls == []

    run(story)


def test_the_same_work_at_once() -> None:
    """While the first call is at work a second one is told so; one with another body can never be the same."""

    async def story(world: World) -> None:
        world.work.gate.clear()
        first = asyncio.create_task(world.send())
        await asyncio.sleep(0)
        assert await world.send() == (Code.IDEMPOTENCY_IN_PROGRESS, False)
        assert await world.send(body(b"other")) == (Code.IDEMPOTENCY_CONFLICT, False)
        world.work.gate.set()
        assert await first == (Answer(200, "done"), False)
        assert await world.send(body(b"other")) == (Code.IDEMPOTENCY_CONFLICT, False)
        assert world.work.done == 1

    run(story)


@pytest.mark.parametrize(
    ("seen", "key", "operation"),
    [
        (call(b"{}", path={"keyId": "other"}), KEY, KILL),
        (call(b"{}", path={"keyId": "k"}), b"order-4712", KILL),
        (call(b"{}", path={"keyId": "k"}), KEY, BY_NAME["rotateApiKey"]),
        (call(b"{}", path={"keyId": "k"}, key=standing(id=STANDING.id[:-1] + "B")), KEY, KILL),
    ],
)
def test_a_key_counts_for_one_call_on_one_path(seen: Call, key: bytes, operation: Operation) -> None:
    """Another path, another idempotency key, another call and another caller are other work."""

    async def story(world: World) -> None:
        await world.send()
        assert await world.send(seen, key, operation) == (Answer(200, "done"), False)
        assert world.work.done == 2

    run(story)


@pytest.mark.parametrize(
    "code",
    [Code.VALIDATION, Code.INVALID_JSON, Code.ALL_EVENTS_REJECTED, Code.PAYLOAD_TOO_LARGE],
)
def test_refusals_that_stay_are_derived_again(code: Code) -> None:
    """What the same call gets for good is remembered: the repeat is refused alike, and is told as a repeat."""

    async def story(world: World) -> None:
        world.work.outcome = Refusal(code)
        assert await world.send() == (code, False)
        assert await world.send() == (code, True)
        assert world.work.calls[1].replay == Replay(code.value.status, None)
        assert await world.send(body(b"other")) == (Code.IDEMPOTENCY_CONFLICT, False)

    run(story)


@pytest.mark.parametrize(
    "code",
    [
        *(Code.NOT_FOUND, Code.CONFLICT, Code.REVOKED, Code.UNAUTHENTICATED, Code.RATE_LIMITED, Code.BODY_TIMEOUT),
        *(code for code in Code if code.value.status >= 500),
    ],
)
def test_refusals_that_pass_free_the_key(code: Code) -> None:
    """What may go well another time is not remembered: the work may be tried again, with another body too."""

    async def story(world: World) -> None:
        world.work.outcome = Refusal(code)
        assert await world.send() == (code, False)
        world.work.outcome = Answer(200, "done")
        assert await world.send(body(b"other")) == (Answer(200, "done"), False)
        assert world.work.done == 2

    run(story)


def test_a_bug_frees_the_key() -> None:
    """What is no refusal goes on as it is, and the work may be tried again."""

    async def story(world: World) -> None:
        world.work.outcome = ZeroDivisionError()
        with pytest.raises(ZeroDivisionError):
            await world.send()
        world.work.outcome = Answer(200, "done")
        assert await world.send() == (Answer(200, "done"), False)

    run(story)


def test_a_cancelled_call_frees_the_key() -> None:
    """A call that is given up in the middle leaves nothing behind."""

    async def story(world: World) -> None:
        world.work.gate.clear()
        first = asyncio.create_task(world.send())
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        world.work.gate.set()
        assert len(world.store) == 0
        assert await world.send() == (Answer(200, "done"), False)

    run(story)


@pytest.mark.parametrize("now", [Answer(201, "more"), Refusal(Code.NOT_FOUND), Refusal(Code.ALL_EVENTS_REJECTED)])
def test_a_repeat_in_another_world_is_a_conflict(now: Answer | Refusal) -> None:
    """Where the first answer cannot be derived any more, nothing is done, and it is said."""

    async def story(world: World) -> None:
        await world.send()
        world.work.outcome = now
        assert await world.send() == (Code.CONFLICT, False)
        world.work.outcome = Answer(200, "done")
        assert await world.send() == (Answer(200, "done"), True)
        assert world.work.done == 1

    run(story)


def test_a_refusal_that_no_longer_holds_is_a_conflict() -> None:
    """What was refused and would now be done is not done by a repeat."""

    async def story(world: World) -> None:
        world.work.outcome = Refusal(Code.VALIDATION)
        await world.send()
        world.work.outcome = Answer(200, "done")
        assert await world.send() == (Code.CONFLICT, False)
        assert world.work.done == 1

    run(story)


def test_a_repeat_while_something_is_away_may_come_again() -> None:
    """A 5xx while an answer is derived is told as it is, and forgets nothing."""

    async def story(world: World) -> None:
        await world.send()
        world.work.outcome = Refusal(Code.UNAVAILABLE)
        assert await world.send() == (Code.UNAVAILABLE, False)
        world.work.outcome = Answer(200, "done")
        assert await world.send() == (Answer(200, "done"), True)

    run(story)


def test_keys_are_forgotten_in_time() -> None:
    """A finished key is free after 24 hours, one whose work never ended after its lease."""

    async def story(world: World) -> None:
        await world.send()
        world.clock.advance(KEPT_S * 1_000)
        assert await world.send(body(b"other")) == (Answer(200, "done"), False)

        world.work.gate.clear()
        hanging = asyncio.create_task(world.send(key=b"hangs"))
        await asyncio.sleep(0)
        world.clock.advance(LEASE_S * 1_000)
        world.work.gate.set()
        assert await world.send(key=b"hangs") == (Answer(200, "done"), False)
        await hanging

    run(story)


def test_the_cache_away_from_the_start() -> None:
    """Events are taken without it, because their ids drop repeats; what a repeat would harm is not done."""

    async def story(world: World) -> None:
        assert await world.send() == (Code.UNAVAILABLE, False)
        assert world.work.calls == []
        assert await world.send(operation=TAKE) == (Answer(200, "done"), False)
        assert await world.send(key=None) == (Answer(200, "done"), False)

    run(story, Away("claim"))


def test_the_cache_away_at_the_end() -> None:
    """Work that is done is answered although that cannot be remembered; refusals stay what they are."""

    async def story(world: World) -> None:
        assert await world.send() == (Answer(200, "done"), False)
        assert await world.send() == (Code.IDEMPOTENCY_IN_PROGRESS, False)
        for code in (Code.UNAVAILABLE, Code.NOT_FOUND):
            world.work.outcome = Refusal(code)
            assert await world.send(key=code.name.encode()) == (code, False)

    run(story, Away("finish", "free"))
