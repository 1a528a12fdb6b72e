"""Messages as signed POST requests, in the form of Standard Webhooks."""

import asyncio
import contextlib
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx
import msgspec

from ingest.clock import Clock
from ingest.notify.addresses import resolve
from ingest.notify.failure import Undelivered, network_failure
from ingest.notify.signature import sign

TIMEOUT_S: Final = 10.0
"""Longest wait for one delivery, from the name's look-up to the answer."""

CONNECT_TIMEOUT_S: Final = 4.0
"""Longest wait for one of a host's addresses; a name often has one that does not answer from everywhere."""

ANSWER_BYTES_MAX: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Webhook:
    """Calls webhooks: no redirects, no proxy, no cookie, and an answer is only looked at for its status.

    `keys` sign. On a `private_network` webhooks of organizations may have any address, and need no TLS.
    """

    keys: Sequence[bytes]
    clock: Clock
    tls: ssl.SSLContext
    private_network: bool

    async def send(self, url: str, message_id: str, payload: Mapping[str, Any], *, trusted: bool) -> None:
        """Deliver a message; an operator's own URL is `trusted`, that of an organization is not.

        Raises `Undelivered` on anything but a 2xx in time.
        """
        target, guarded = _parse(url), not trusted and not self.private_network
        if guarded and target.scheme != "https":
            raise Undelivered("https_needed")
        body = msgspec.json.encode({**payload, "messageId": message_id})
        timestamp_s = self.clock.now_ms() // 1000
        headers = {
            "Host": target.netloc.decode("ascii"),
            "User-Agent": "ingest-edge",
            "Content-Type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp_s),
            "webhook-signature": sign(self.keys, message_id, timestamp_s, body),
        }
        try:
            async with asyncio.timeout(TIMEOUT_S):
                status = await self._post(target, headers, body, public_only=guarded)
        except TimeoutError:
            raise Undelivered("timeout") from None
        if not 200 <= status <= 299:
            raise Undelivered(f"http_{status}")

    async def _post(self, url: httpx.URL, headers: Mapping[str, str], body: bytes, *, public_only: bool) -> int:
        """Return the status of the first of the host's addresses that can be connected to."""
        host = url.raw_host.decode("ascii")
        port = url.port or (443 if url.scheme == "https" else 80)
        failure = Undelivered("name_not_resolved")
        for address in await resolve(host, port, public_only=public_only):
            # The address stands in the URL so that no second look-up can lead elsewhere; TLS still asks for the name.
            try:
                at = url.copy_with(host=address)
                request = httpx.Request("POST", at, headers=headers, content=body, extensions={"sni_hostname": host})
                return await self._exchange(request)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = network_failure(error)
            except httpx.TimeoutException:
                raise Undelivered("timeout") from None
            except (httpx.TransportError, httpx.InvalidURL) as error:
                raise network_failure(error) from None
        raise failure

    async def _exchange(self, request: httpx.Request) -> int:
        # A client for each: with addresses in URLs, a kept connection could be another host's of the same address.
        timeout = httpx.Timeout(TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        async with httpx.AsyncClient(verify=self.tls, timeout=timeout, trust_env=False) as client:
            response = await client.send(request, stream=True, follow_redirects=False)
            try:
                with contextlib.suppress(httpx.TransportError, TimeoutError):
                    await _read_some(response)
            finally:
                await response.aclose()
            return response.status_code


async def _read_some(response: httpx.Response) -> None:
    """Let a receiver finish its answer, if that is short and quick; the status is known already."""
    read = 0
    async with asyncio.timeout(1):
        async for chunk in response.aiter_raw():
            read += len(chunk)
            if read > ANSWER_BYTES_MAX:
                return


def _parse(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        raise Undelivered("url_invalid") from None
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo:
        raise Undelivered("url_invalid")
    return parsed
