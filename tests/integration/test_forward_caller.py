"""Calls to platforms over real HTTP: every way in which one can fail is a verdict, and none of them hangs or leaks."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import httpcore
import pytest

from devservices.platforms import behaviour as do
from devservices.platforms.fake import FakePlatforms
from devservices.platforms.names import Platform as Twin
from devservices.ports import HOST, free_ports
from ingest.conversion import Platform
from ingest.forward.caller import ANSWER_BYTES_MAX, CONNECTIONS_MAX, Answer, HttpCaller, Unanswered
from ingest.forward.platforms.contract import Accepted, Call, Dead, Later, PlatformApi, Refused, Verdict
from ingest.forward.platforms.meta import MetaConversions
from ingest.forward.platforms.tiktok import TikTokEvents
from tests.ingest.forward.platforms.conversions import app
from tests.support.receivers import HttpReceiver

T = TypeVar("T")
TOKEN: Final = "the-token"
SHORT_S: Final = 0.2
"""For calls that nobody will answer."""

META_EVENT: Final = b'{"event_name":"Purchase","event_id":"e-1"}'
TIKTOK_EVENT: Final = (
    b'{"event":"Purchase","event_time":%d,"event_id":"e-1","user":{"email":"%s"},"page":{"url":"https://a.example/"}}'
    % (time.time(), b"ab" * 32)
)


@pytest.fixture
def platforms() -> Iterator[FakePlatforms]:
    """Provide platforms that have seen nothing."""
    with FakePlatforms() as running:
        yield running


def apis(platforms: FakePlatforms) -> dict[Platform, PlatformApi]:
    """Return what is known of both platforms."""
    return {
        Platform.META: MetaConversions(platforms.meta_url, "v26.0"),
        Platform.TIKTOK: TikTokEvents(platforms.tiktok_url),
    }


@asynccontextmanager
async def serving(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[Call]:
    """Handle connections in this loop, and yield a call to there. All of them must have ended at the end."""
    handling: set[asyncio.Task[Any] | None] = set()

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handling.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            try:
                await handle(reader, writer)
            finally:
                writer.close()
                await writer.wait_closed()

    server = await asyncio.start_server(attend, HOST, 0)
    try:
        yield Call(f"http://{HOST}:{server.sockets[0].getsockname()[1]}/", {}, b"{}")
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.gather(*filter(None, handling))


def calling(work: Callable[[HttpCaller], Awaitable[T]], *, call_s: float = 10.0) -> T:
    """Do work with a caller, which is closed in the end."""

    async def story() -> T:
        caller = HttpCaller(call_s=call_s)
        try:
            return await work(caller)
        finally:
            await caller.close()

    return asyncio.run(story())


def asked(platforms: FakePlatforms, platform: Platform, *, call_s: float = 10.0) -> Verdict:
    """Return what comes of one call."""
    api = apis(platforms)[platform]
    events = {Platform.META: META_EVENT, Platform.TIKTOK: TIKTOK_EVENT}
    call = api.call(app(), TOKEN, [events[platform]])
    return calling(lambda caller: caller.ask(api, call), call_s=call_s)


FAILURES: Final[list[tuple[do.AnyBehaviour, Verdict, Verdict]]] = [
    (do.Status(), Later("http_503"), Later("http_503")),
    (do.Status(retry_after="7"), Later("http_503", 7.0), Later("http_503", 7.0)),
    (do.Status(status=500, retry_after="86400"), Later("http_500", 3600.0), Later("http_500", 3600.0)),
    (do.Status(status=429), Later("http_429", throttled=True), Later("http_429", throttled=True)),
    (do.Status(status=404), Dead("http_404"), Dead("http_404")),
    (do.Status(status=413), Refused("http_413"), Refused("http_413")),
    (do.Throttled(retry_after="3"), Later("80004", 3.0, throttled=True), Later("40100", 3.0, throttled=True)),
    (do.DeadToken(), Dead("190/463"), Dead("40105")),
    (do.NoPermission(), Dead("200"), Dead("40001")),
    (do.Coded(code=2), Later("2"), Later("2")),
    (do.Coded(code=50_000, transient=True), Later("50000"), Later("50000")),
    (do.Refusing(event_ids=frozenset({"e-1"}), subcode=2_804_003), Refused("100/2804003"), Refused("40002")),
    (do.Reset(taken=False), Later("network"), Later("network")),
    (do.Reset(taken=True), Later("network"), Later("network")),
    (do.Garbage(), Later("unreadable"), Later("unreadable")),
    (do.Garbage(status=502, body="<html>"), Later("http_502"), Later("http_502")),
]


@pytest.mark.parametrize(("behaviour", "meta", "tiktok"), FAILURES, ids=lambda each: type(each).__name__)
def test_each_failure_is_a_verdict(
    platforms: FakePlatforms, behaviour: do.AnyBehaviour, meta: Verdict, tiktok: Verdict
) -> None:
    """Both platforms say it in their own words, a proxy before them in its own."""
    platforms.script.add(behaviour)

    assert (asked(platforms, Platform.META), asked(platforms, Platform.TIKTOK)) == (meta, tiktok)
    assert [call.events for call in platforms.ledger.calls()] == [1, 1]


@pytest.mark.parametrize("platform", list(Platform))
@pytest.mark.parametrize("behaviour", [do.Silent(taken=True), do.Ok(latency_ms=60_000)], ids=["silent", "late"])
def test_who_does_not_answer_in_time_is_not_waited_for(
    platforms: FakePlatforms, behaviour: do.AnyBehaviour, platform: Platform
) -> None:
    """The call may have been taken; its repeat has the same event id."""
    platforms.script.add(behaviour)

    assert asked(platforms, platform, call_s=SHORT_S) == Later("timeout")


def test_an_answer_that_drips_is_not_waited_for() -> None:
    """The time is that of the whole call: a byte now and then does not prolong it."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            writer.write(b"{")
            await writer.drain()
            await asyncio.sleep(SHORT_S / 10)

    async def story() -> Answer | str:
        async with serving(drip) as call:
            caller = HttpCaller(call_s=SHORT_S)
            try:
                return await caller.exchange(Platform.META, call)
            except Unanswered as error:
                return str(error)
            finally:
                await caller.close()

    assert asyncio.run(story()) == "timeout"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{}/", "http://nobody.invalid/", "http://[::1/", "gopher://127.0.0.1/"]
)
def test_nobody_there_is_no_answer(url: str) -> None:
    """A port that nobody listens on, a name that nobody has, and what is no address at all."""
    (port,) = free_ports(1)
    call = Call(url.format(port), {}, b"{}")

    with pytest.raises(Unanswered, match=r"^(?:network|timeout)$"):
        calling(lambda caller: caller.exchange(Platform.META, call))


def received(receiver: HttpReceiver, times: int = 1) -> list[Answer]:
    """Return the answers of a receiver to calls one after the other."""

    async def work(caller: HttpCaller) -> list[Answer]:
        return [
            await caller.exchange(Platform.META, Call(receiver.url(), {"Authorization": TOKEN}, b"{}"))
            for _ in range(times)
        ]

    return calling(work)


def test_no_more_of_an_answer_is_read_than_is_looked_at() -> None:
    """What comes of a large one is a little more than the bound, and no success."""
    large = b'{"events_received": 1, "fill": "' + b"x" * (8 * ANSWER_BYTES_MAX) + b'"}'
    with HttpReceiver(answer=large) as receiver:
        (answer,) = received(receiver)

    assert ANSWER_BYTES_MAX < len(answer.body) < 2 * ANSWER_BYTES_MAX
    assert MetaConversions("http://x", "v26.0").verdict(*answer) == Later("unreadable")


def test_a_redirect_is_not_followed() -> None:
    """A token goes nowhere but where the settings say; whoever answers so has taken nothing."""
    with HttpReceiver() as elsewhere, HttpReceiver([307], headers={"Location": elsewhere.url()}) as receiver:
        (answer,) = received(receiver)
        assert elsewhere.calls == []

    assert answer.status == 307
    assert MetaConversions("http://x", "v26.0").verdict(*answer) == Later("http_307")


def test_a_cookie_is_not_kept() -> None:
    """What a platform sets for one sender must not come back with the events of another."""
    with HttpReceiver(headers={"Set-Cookie": "sender=1; Path=/"}) as receiver:
        received(receiver, times=2)
        names = [set(call.headers) for call in receiver.calls]

    assert [name & {"cookie"} for name in names] == [set(), set()]


def test_a_proxy_of_the_environment_is_not_used(platforms: FakePlatforms, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody on the way gets to see tokens and conversions."""
    with HttpReceiver([500]) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url(""))
        asked(platforms, Platform.META)
        assert proxy.calls == []

    assert len(platforms.ledger.calls()) == 1


def test_connections_are_kept() -> None:
    """Calls one after the other go over one connection, at once over as many as it takes and no more the next time."""
    opened = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            await writer.drain()

    async def story() -> list[int]:
        async with serving(answer) as call:
            caller, counts = HttpCaller(), []
            try:
                for _ in range(3):
                    assert (await caller.exchange(Platform.META, call)).status == 200
                counts.append(opened)
                for _ in range(2):
                    await asyncio.gather(*(caller.exchange(Platform.META, call) for _ in range(4)))
                    counts.append(opened)
            finally:
                await caller.close()
        return counts

    one, several, again = asyncio.run(story())

    assert one == 1
    assert several == again <= 4


def test_http2_is_offered() -> None:
    """Where a platform speaks it all calls share one connection; without encryption it is never spoken."""

    async def work(caller: HttpCaller) -> Any:
        return [each._transport._pool for each in caller._clients.values()]  # type: ignore[attr-defined]

    pools = calling(work)

    assert [type(pool) for pool in pools] == [httpcore.AsyncConnectionPool] * len(Platform)
    assert {(pool._http1, pool._http2) for pool in pools} == {(True, True)}


def test_what_is_taken_is_accepted(platforms: FakePlatforms) -> None:
    """A warning is a success too; what was sent is what arrives."""
    api = apis(platforms)[Platform.TIKTOK]
    call = api.call(app(), TOKEN, [TIKTOK_EVENT])
    platforms.script.add(do.Warned(), calls=1)

    async def work(caller: HttpCaller) -> list[Verdict]:
        return [await caller.ask(api, call) for _ in range(2)]

    verdicts = calling(work)

    assert verdicts == [Accepted("20001"), Accepted()]
    assert [each.payload for each in platforms.ledger.events()] == [TIKTOK_EVENT]


def test_a_silent_platform_takes_no_connection_from_another(platforms: FakePlatforms) -> None:
    """However many calls wait for the one, those to the other are made at once."""
    both = apis(platforms)
    calls = {
        platform: api.call(app(), TOKEN, [{Platform.META: META_EVENT, Platform.TIKTOK: TIKTOK_EVENT}[platform]])
        for platform, api in both.items()
    }
    platforms.script.add(do.Silent(taken=False), platform=Twin.META)

    async def work(caller: HttpCaller) -> Verdict:
        silent = [
            asyncio.create_task(caller.ask(both[Platform.META], calls[Platform.META]))
            for _ in range(CONNECTIONS_MAX + 1)
        ]
        try:
            assert await asyncio.to_thread(platforms.ledger.wait_for_calls, CONNECTIONS_MAX)
            return await caller.ask(both[Platform.TIKTOK], calls[Platform.TIKTOK])
        finally:
            for task in silent:
                task.cancel()
            await asyncio.gather(*silent, return_exceptions=True)

    assert calling(work, call_s=30.0) == Accepted()
