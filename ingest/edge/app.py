"""The public surface: what SDKs send first, everything else through Starlette.

`POST /events` and its like are matched before the framework's router and middleware, which saves 6 us a request.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ingest.edge import answer, click
from ingest.edge.click import Clicks
from ingest.edge.client import TrustedProxies
from ingest.edge.collect import Collect
from ingest.edge.framework import Framed, origin_of
from ingest.edge.intake import INTAKES
from ingest.edge.remote_config import RemoteConfigs
from ingest.edge.secure import secured
from ingest.telemetry.metrics import Figures
from ingest.telemetry.request_log import RequestLog

PARTNERS: Final = "/v1/"
_CLICKS: Final = click.ROUTE.partition("{")[0]
METHODS: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(INTAKES, ("POST", "OPTIONS")),
    **dict.fromkeys(("/config", "/health"), ("GET", "HEAD", "OPTIONS")),
}


class Calls(NamedTuple):
    """What SDKs call: `collectors` take what is posted, by path; `configs` tell clients what to do.

    `clicks` send people on.
    """

    collectors: Mapping[str, Collect]
    configs: RemoteConfigs
    clicks: Clicks


def surface(
    calls: Calls,
    figures: Figures,
    log: RequestLog,
    trusted: TrustedProxies,
    partners: ASGIApp | None = None,
) -> ASGIApp:
    """Return the ASGI application that SDKs talk to, with that for `partners` under `/v1/` where there is one."""

    def answered(scope: Scope, request_id: str, status: int, code: str, seconds: float) -> None:
        route = scope["path"] if scope["path"] in METHODS else _template(scope["path"])
        figures.request(route, status, code, seconds)
        log.write_plain(request_id, route, status, seconds, None if code == "none" else code)

    routes = [
        *(Route(path, _preflight, methods=["OPTIONS"]) for path in METHODS),
        Route(click.ROUTE, calls.clicks.answer, methods=click.METHODS),
        Route("/config", calls.configs.answer, methods=["GET", "HEAD"]),
        Route("/health", _health, methods=["GET", "HEAD"]),
    ]
    rest = Framed(routes, METHODS, answered, cors=True)
    collectors = calls.collectors

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in collectors:
            await collectors[scope["path"]](scope, receive, send)
        elif partners is not None and scope["type"] == "http" and scope["path"].startswith(PARTNERS):
            await partners(scope, receive, send)
        else:
            await rest(scope, receive, send)

    return secured(dispatch, trusted, answered) if trusted else dispatch


def _template(path: str) -> str:
    """Return the route of a path that is not its own."""
    return click.ROUTE if path.startswith(_CLICKS) else "other"


async def _health(_: Request) -> Response:
    """Tell that this process serves; no dependency is asked."""
    return Response(b'{"status":"ok"}', media_type="application/json")


async def _preflight(request: Request) -> Response:
    response = Response(status_code=204)
    for name, value in answer.preflight_headers(origin_of(request.scope), METHODS[request.url.path]):
        response.raw_headers.append((name, value))
    return response
