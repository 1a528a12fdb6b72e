"""The admin surface, never public: is this process alive, may it get traffic, and its figures."""

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ingest.edge.framework import Framed

Readiness = Callable[[], Awaitable[list[str]]]
"""Answers with the reasons why no traffic should come, none when it may."""

Exposition = Callable[[], Awaitable[bytes]]
"""Answers with the figures of all workers in the text format of Prometheus."""

DESCRIPTION: Final = "/openapi.json"
METHODS: Final = dict.fromkeys(("/live", "/ready", "/metrics", DESCRIPTION), ("GET", "HEAD"))


def admin(readiness: Readiness, exposition: Exposition, openapi: Callable[[], bytes] | None = None) -> ASGIApp:
    """Return the application behind the admin port; `openapi` describes the partner surface where there is one."""

    async def live(_: Request) -> Response:
        return _json({"status": "ok"})

    async def ready(_: Request) -> Response:
        reasons = await readiness()
        if reasons:
            return _json({"status": "not ready", "reasons": reasons}, 503)
        return _json({"status": "ok"})

    async def metrics(_: Request) -> Response:
        return Response(await exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def description(_: Request) -> Response:
        assert openapi is not None
        return Response(openapi(), media_type="application/json")

    methods = {path: allowed for path, allowed in METHODS.items() if openapi is not None or path != DESCRIPTION}
    routes = [Route("/live", live), Route("/ready", ready), Route("/metrics", metrics)]
    if openapi is not None:
        routes.append(Route(DESCRIPTION, description))
    return Framed(routes, methods, lambda *_: None, cors=False)


def _json(body: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status_code=status, media_type="application/json")
