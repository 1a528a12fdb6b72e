"""What every route of Starlette's has in common: error envelopes, request ids, and a bug that costs one request."""

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Final

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ingest.edge import answer
from ingest.errors import Code, Refusal
from ingest.telemetry.catalog import CLIENT_GONE_STATUS

_log = structlog.get_logger(__name__)

_METHOD_NOT_ALLOWED: Final = 405

Methods = Mapping[str, Sequence[str]]
"""The methods of routes of which the framework itself does not know all."""

Answered = Callable[[Scope, str, int, str, float], None]
"""Told of every answer: scope, request id, status, error code or `none`, seconds."""


class Framed:
    """An ASGI application of `routes`, each answer with its request id, and with CORS headers where `cors` says so."""

    def __init__(self, routes: Sequence[BaseRoute], methods: Methods, answered: Answered, *, cors: bool) -> None:
        handlers = {HTTPException: self._no_route, Refusal: _refused, Exception: _bug}
        framework = Starlette(routes=routes, exception_handlers=handlers)
        framework.router.redirect_slashes = False
        self._app: Final[ASGIApp] = framework
        self._methods = methods
        self._answered = answered
        self._cors = cors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        begun = perf_counter()
        state = scope.setdefault("state", {})
        state["request_id"] = request_id = request_id_of(scope)
        status = CLIENT_GONE_STATUS  # unless an answer begins
        started = False

        async def framed(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                started, status = True, message["status"]
                headers = message["headers"]
                names = {name for name, _ in headers}
                more = [(b"x-request-id", request_id.encode())]
                if self._cors:
                    more += answer.cors_headers(origin_of(scope))
                headers.extend(each for each in more if each[0] not in names)
            await send(message)

        try:
            await self._app(scope, receive, framed)
        except Exception as error:  # noqa: BLE001 - a bug here costs one request, and is told without its input
            _log.error("bug", error=error, request_id=request_id)
            if not started:
                await _refusal(scope, Refusal(Code.INTERNAL))(scope, receive, framed)
        self._answered(scope, request_id, status, state.get("code", "none"), perf_counter() - begun)

    async def _no_route(self, request: Request, error: Exception) -> Response:
        """Answer what the router refuses: an unknown path, or a method that a path does not know."""
        assert isinstance(error, HTTPException)
        methods = self._methods.get(request.url.path)
        if methods is None and error.status_code == _METHOD_NOT_ALLOWED and error.headers is not None:
            methods = sorted(error.headers["Allow"].split(", "))
        code = Code.NOT_FOUND if methods is None else Code.METHOD_NOT_ALLOWED
        response = _refusal(request.scope, Refusal(code))
        if methods is not None:
            response.headers["allow"] = ", ".join(methods)
        return response


async def _refused(request: Request, error: Exception) -> Response:
    """Answer what a route of ours refuses."""
    assert isinstance(error, Refusal)
    return _refusal(request.scope, error)


async def _bug(request: Request, _: Exception) -> Response:
    """Answer where a route of ours has a bug; it is told of where the exception arrives."""
    return _refusal(request.scope, Refusal(Code.INTERNAL))


def origin_of(scope: Scope) -> bytes | None:
    """Return the header `Origin`."""
    for name, value in scope["headers"]:
        if name == b"origin":
            return bytes(value)
    return None


def request_id_of(scope: Scope) -> str:
    """Return the client's request id where it is acceptable, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            return answer.accepted_request_id(value) or answer.new_request_id()
    return answer.new_request_id()


def _refusal(scope: Scope, refusal: Refusal) -> Response:
    request_id = scope["state"]["request_id"]
    body = answer.envelope(refusal.code, request_id, refusal.message, refusal.details)
    response = Response(body, status_code=refusal.code.value.status)
    response.raw_headers = answer.error_headers(refusal.code, request_id, len(body))
    scope["state"]["code"] = refusal.code.name
    return response
