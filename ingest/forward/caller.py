"""One call to a platform: bounded in time and size, and every way in which it can fail is a verdict."""

import asyncio
from typing import Final, Protocol

import httpx

from ingest.forward.platforms.contract import Call, Later, PlatformApi, Verdict

CALL_S: Final = 10.0
CONNECT_S: Final = 3.0
ANSWER_BYTES_MAX: Final = 256 * 1024
CONNECTIONS_MAX: Final = 128
IDLE_S: Final = 30.0


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
            async with asyncio.timeout(self._call_s):
                return await self._exchange(api, call)
        except (TimeoutError, httpx.TimeoutException):
            return Later("timeout")
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError):
            return Later("network")

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _exchange(self, api: PlatformApi, call: Call) -> Verdict:
        async with self._client.stream("POST", call.url, headers=call.headers, content=call.body) as response:
            body = bytearray()
            async for part in response.aiter_bytes():
                body += part
                if len(body) > ANSWER_BYTES_MAX:
                    break
            return api.verdict(response.status_code, response.headers, bytes(body))
