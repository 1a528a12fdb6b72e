"""A body is read whole or refused, within bounds of size and time, and without a timer where none is needed."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from ingest.edge.body import TOTAL_TIMEOUTS, ClientGone, Message, Receive, read_body
from ingest.errors import Code, Refusal

BYTES_MAX = 100
TIMEOUT_MS = 10_000


def part(body: bytes, *, more: bool = False) -> Message:
    """Return one message of a body."""
    return {"type": "http.request", "body": body, "more_body": more}


class Channel:
    """A receive channel that gives its messages, at once or after a turn of the loop, and then nothing for ever."""

    def __init__(self, *messages: Message, late: bool = False) -> None:
        self.messages = list(messages)
        self.late = late
        self.calls = 0
        self.cancelled = False

    async def __call__(self) -> Message:
        """Return the next message."""
        self.calls += 1
        if self.late:
            await asyncio.sleep(0)
        if self.messages:
            return self.messages.pop(0)
        try:
            never: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
            return await never
        except asyncio.CancelledError:
            self.cancelled = True
            raise


class Clock:
    """Stands in for the loop's clock, so that timeouts pass without waiting."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self.now

    async def rule(self, coroutine: Coroutine[Any, Any, bytes]) -> bytes:
        """Run `coroutine` on this clock."""
        loop = asyncio.get_running_loop()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "time", self)
            return await coroutine


def reading(
    receive: Receive, content_length: int | None = None, grown: list[int] | None = None
) -> Coroutine[Any, Any, bytes]:
    """Return a read with the bounds of these tests."""
    grow = (grown if grown is not None else []).append
    return read_body(receive, content_length=content_length, bytes_max=BYTES_MAX, timeout_ms=TIMEOUT_MS, grow=grow)


def read(receive: Receive, content_length: int | None = None, grown: list[int] | None = None) -> bytes:
    """Read on a loop of its own."""
    return asyncio.run(reading(receive, content_length, grown))


def test_a_body_that_is_there_starts_no_timer() -> None:
    """The first message holds it all: no timer is scheduled, receive is called once, the bytes are not copied."""
    body = bytes(range(100))
    channel = Channel(part(body))

    async def without_timers() -> bytes:
        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("a timer was started")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asyncio.get_running_loop(), "call_at", refuse)
            return await reading(channel, len(body))

    assert asyncio.run(without_timers()) is body
    assert channel.calls == 1


@pytest.mark.parametrize("late", [False, True])
def test_parts_are_joined_and_told_as_they_come(late: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Parts come in order, a last empty one ends the body, and `grow` hears each size."""
    grown: list[int] = []
    channel = Channel(part(b"ab", more=True), part(b"c", more=True), part(b""), late=late)
    assert read(channel, grown=grown) == b"abc"
    assert grown == [2, 1, 0]


def test_a_late_first_message_is_read() -> None:
    """A body that arrives after its headers is the same body."""
    assert read(Channel(part(b"late"), late=True)) == b"late"


def test_a_message_without_members_is_an_empty_body() -> None:
    """`body` and `more_body` may be left out of a message."""
    assert read(Channel({"type": "http.request"})) == b""


def test_a_declared_length_is_refused_before_reading() -> None:
    """Nothing is read of a body that says it is too large, and the refusal tells the limit."""
    channel = Channel(part(b"x"))
    with pytest.raises(Refusal) as caught:
        read(channel, BYTES_MAX + 1)
    assert caught.value.code is Code.PAYLOAD_TOO_LARGE
    assert caught.value.details == {"limit": "body_bytes", "max": BYTES_MAX}
    assert channel.calls == 0


@pytest.mark.parametrize(
    "parts",
    [
        [part(b"x" * (BYTES_MAX + 1))],
        [part(b"x" * BYTES_MAX, more=True), part(b"x", more=True)],
        [part(b"", more=True), part(b"x" * (BYTES_MAX + 1))],
    ],
)
def test_a_body_is_cut_at_the_bound(parts: list[Message]) -> None:
    """What no length declared is refused as soon as it passes the bound, and is not counted as taken."""
    grown: list[int] = []
    with pytest.raises(Refusal) as caught:
        read(Channel(*parts), grown=grown)
    assert caught.value.details == {"limit": "body_bytes", "max": BYTES_MAX}
    assert sum(grown) <= BYTES_MAX


def test_a_body_of_exactly_the_bound_passes() -> None:
    """The bound is the largest size, in one part and in two."""
    assert len(read(Channel(part(b"x" * BYTES_MAX)), BYTES_MAX)) == BYTES_MAX
    assert len(read(Channel(part(b"x" * 99, more=True), part(b"x")))) == BYTES_MAX


@pytest.mark.parametrize("parts", [[part(b"x")], [part(b"x", more=True)]])
def test_grow_may_refuse(parts: list[Message]) -> None:
    """What the caller's accounting raises ends the read."""

    def full(_: int) -> None:
        raise Refusal(Code.OVERLOADED)

    read = read_body(Channel(*parts), content_length=None, bytes_max=BYTES_MAX, timeout_ms=TIMEOUT_MS, grow=full)
    with pytest.raises(Refusal, match="OVERLOADED"):
        asyncio.run(read)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("before", [[], [part(b"x", more=True)]])
def test_a_client_that_leaves_is_gone(before: list[Message], late: bool) -> None:  # noqa: FBT001 - a parameter
    """A disconnect at any point is no refusal: nobody is there to read one."""
    with pytest.raises(ClientGone):
        read(Channel(*before, {"type": "http.disconnect"}, late=late))


@pytest.mark.parametrize("sent", [[], [part(b"x", more=True)]])
def test_a_stalled_body_times_out(sent: list[Message]) -> None:
    """A part that does not come within the timeout is a 408, and the wait for it is ended."""
    clock = Clock()
    channel = Channel(*sent)

    async def stall() -> Message:
        if not channel.messages:
            asyncio.get_running_loop().call_soon(setattr, clock, "now", clock.now + TIMEOUT_MS / 1000)
        return await channel()

    with pytest.raises(Refusal, match="BODY_TIMEOUT"):
        asyncio.run(clock.rule(reading(stall)))
    assert channel.cancelled


@pytest.mark.parametrize(("parts_sent", "in_time"), [(6, True), (7, False)])
def test_a_slow_body_has_a_total_time(parts_sent: int, in_time: bool) -> None:  # noqa: FBT001 - a parameter
    """Parts that each come in time, but together take more than six timeouts, are a 408."""
    clock = Clock()
    step_s = TIMEOUT_MS / 1000 * 0.97
    left = [part(b"x", more=True)] * (parts_sent - 1) + [part(b"x")]
    assert (step_s * parts_sent < TOTAL_TIMEOUTS * TIMEOUT_MS / 1000) is in_time

    async def drip() -> Message:
        await asyncio.sleep(0)
        clock.now += step_s
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return left.pop(0)

    run = clock.rule(reading(drip))
    if in_time:
        assert asyncio.run(run) == b"x" * parts_sent
    else:
        with pytest.raises(Refusal, match="BODY_TIMEOUT"):
            asyncio.run(run)


def test_a_cancelled_read_cancels_what_it_awaits() -> None:
    """The first wait, which was started by hand, is cancelled like any other."""
    channel = Channel()

    async def cancel() -> None:
        task = asyncio.ensure_future(reading(channel))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert channel.cancelled
