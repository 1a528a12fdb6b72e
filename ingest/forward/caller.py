"""One call to a platform: bounded in time and size, and every way in which it can fail is a verdict."""

import asyncio
from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

import httpx

from ingest.forward.platforms.contract import Call, Later, PlatformApi, Verdict

CALL_S: Final = 5.0
"""Longest wait for an answer; nearly all come within a second."""

CONNECT_S: Final = 3.0
ANSWER_BYTES_MAX: Final = 256 * 1024
CONNECTIONS_MAX: Final = 128
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
    """Makes calls over HTTP, with HTTP/2 where that is offered; no redirects, no proxy, no cookies."""

    def __init__(self, *, call_s: float = CALL_S) -> None:
        self._call_s = call_s
        self._client = httpx.AsyncClient(
            http2=True,
            timeout=httpx.Timeout(call_s, connect=CONNECT_S),
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX, keepalive_expiry=IDLE_S),
            trust_env=False,
            follow_redirects=False,
            headers={"User-Agent": "ingest-edge"},
        )

    async def ask(self, api: PlatformApi, call: Call) -> Verdict:
        """See `Caller.ask`. A call without an answer may have been taken: the platforms drop its repeat by event id."""
        try:
            return api.verdict(*await self.exchange(call))
        except Unanswered as error:
            return Later(str(error))

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def exchange(self, call: Call) -> Answer:
        """Make a call and return its answer. Raises `Unanswered`."""
        try:
            async with asyncio.timeout(self._call_s):
                return await self._post(call)
        except (TimeoutError, httpx.TimeoutException):
            raise Unanswered("timeout") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError):
            raise Unanswered("network") from None

    async def _post(self, call: Call) -> Answer:
        async with self._client.stream("POST", call.url, headers=call.headers, content=call.body) as response:
            body = bytearray()
            async for part in response.aiter_bytes():
                body += part
                if len(body) > ANSWER_BYTES_MAX:
                    break
            return Answer(response.status_code, response.headers, bytes(body))
