"""One call to a platform: bounded in time and size, and every way in which it can fail is a verdict."""

import asyncio
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final, NamedTuple, Protocol

import httpx

from ingest.conversion import Platform
from ingest.forward.platforms.contract import Call, Later, PlatformApi, Verdict

CALL_S: Final = 5.0
"""Longest wait for an answer; nearly all come within a second."""

CONNECT_S: Final = 3.0
ANSWER_BYTES_MAX: Final = 256 * 1024
CONNECTIONS_MAX: Final = 128
"""To one platform."""

IDLE_S: Final = 30.0


class Answer(NamedTuple):
    """What came back: HTTP status, headers with lower-case names, and as much of the body as is looked at."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Unanswered(Exception):  # noqa: N818 - a state of the world
    """There was no answer in time; the message is a code."""


class Caller(Protocol):
    """Makes calls."""

    async def ask(self, api: PlatformApi, call: Call) -> Verdict:
        """Return what the platform says, or that it did not. Raises nothing."""


class HttpCaller:
    """Makes calls over HTTP, with HTTP/2 where that is offered; no redirects, no proxy, no cookies.

    Each platform has connections of its own, so that one which does not answer takes none from another.
    """

    def __init__(self, *, call_s: float = CALL_S) -> None:
        self._call_s = call_s
        self._clients = {platform: _client(call_s) for platform in Platform}

    async def ask(self, api: PlatformApi, call: Call) -> Verdict:
        """See `Caller.ask`. A call without an answer may have been taken: the platforms drop its repeat by event id."""
        try:
            return api.verdict(*await self.exchange(api.platform, call))
        except Unanswered as error:
            return Later(str(error))

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            await client.aclose()

    async def exchange(self, platform: Platform, call: Call) -> Answer:
        """Make a call and return its answer. Raises `Unanswered`."""
        try:
            async with asyncio.timeout(self._call_s):
                return await _post(self._clients[platform], call)
        except (TimeoutError, httpx.TimeoutException):
            raise Unanswered("timeout") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError):
            raise Unanswered("network") from None


def _client(call_s: float) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        http2=True,
        timeout=httpx.Timeout(call_s, connect=CONNECT_S),
        limits=httpx.Limits(max_connections=CONNECTIONS_MAX, keepalive_expiry=IDLE_S),
        trust_env=False,
        follow_redirects=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        headers={"User-Agent": "ingest-edge"},
    )


async def _post(client: httpx.AsyncClient, call: Call) -> Answer:
    async with client.stream("POST", call.url, headers=call.headers, content=call.body) as response:
        body = bytearray()
        async for part in response.aiter_bytes():
            body += part
            if len(body) > ANSWER_BYTES_MAX:
                break
        return Answer(response.status_code, response.headers, bytes(body))
