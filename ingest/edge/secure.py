"""HTTPS behind a proxy that ends TLS: plain HTTP is sent there, and browsers are told to stay there.

It is wrapped around the surface only where proxies are trusted, costs one pass over the headers, and adds no coroutine.
On our own TLS the server itself adds `HSTS` to each answer.
"""

import re
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingest.edge import answer
from ingest.edge.client import TrustedProxies
from ingest.edge.framework import Answered, origin_of, request_id_of
from ingest.errors import Code

HSTS: Final[answer.Header] = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")

PROBED: Final = "/health"
"""Answered on plain HTTP as well, because balancers ask for it so."""

_FORWARDED_PROTO: Final = b"x-forwarded-proto"
_HOST_BYTES_MAX: Final = 255
_host = re.compile(
    rb"((?:[A-Za-z0-9_-]+\.)*[A-Za-z0-9_-]+\.?|\[[0-9A-Fa-f:.]{2,45}\])(?::(?:80|([0-9]{1,5})))?"
).fullmatch
_target = re.compile(rb"/[!-~]*").fullmatch


def secured(app: ASGIApp, trusted: TrustedProxies, answered: Answered) -> ASGIApp:
    """Return `app` with what a trusted proxy's `X-Forwarded-Proto` demands; any other peer's is not read.

    `http` is answered 308 without `app` and without reading the body, and told to `answered`; `https` adds `HSTS`.
    """

    def secure(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        client = scope.get("client")
        if client is None or not trusted.trusts_host(client[0]):
            return app(scope, receive, send)
        for name, value in scope["headers"]:
            if name == _FORWARDED_PROTO and (https := _is_https(value)) is not None:
                break
        else:
            return app(scope, receive, send)
        if not https:
            return app(scope, receive, send) if scope["path"] == PROBED else _redirect(scope, send, answered)
        return app(scope, receive, send if scope["scheme"] == "https" else _with_hsts(send))

    return secure


def _is_https(value: bytes) -> bool | None:
    """Read `X-Forwarded-Proto`: of a chain the first one is the client's own connection."""
    scheme = value.partition(b",")[0].strip().lower()
    return True if scheme == b"https" else False if scheme == b"http" else None


def _with_hsts(send: Send) -> Callable[[Message], Awaitable[None]]:
    def sending(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            message["headers"].append(HSTS)
        return send(message)

    return sending


async def _redirect(scope: Scope, send: Send, answered: Answered) -> None:
    begun = perf_counter()
    request_id, location = request_id_of(scope), _location(scope)
    if location is None:
        status, code = Code.BAD_REQUEST.value.status, Code.BAD_REQUEST.name
        body = answer.envelope(Code.BAD_REQUEST, request_id, "The header `Host` must stand once and name a host.")
        headers = answer.error_headers(Code.BAD_REQUEST, request_id, len(body))
    else:
        status, code, body = 308, "none", b""
        headers = [(b"location", location), (b"content-length", b"0"), (b"x-request-id", request_id.encode())]
    # A browser follows a redirect to another origin only where the redirect itself allows it.
    headers += answer.cors_headers(origin_of(scope))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
    answered(scope, request_id, status, code, perf_counter() - begun)


def _location(scope: Scope) -> bytes | None:
    """Return the same address on HTTPS, or None where the request does not name it soundly.

    The port of plain HTTP is left out, and any other one is kept.
    """
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) != 1 or len(hosts[0]) > _HOST_BYTES_MAX or (host := _host(hosts[0])) is None:
        return None
    target: bytes = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    if _target(target) is None:
        return None
    return b"https://" + host[1] + (b":" + host[2] if host[2] else b"") + target
