"""A server that does nothing with what it reads: `python -m bench.floor_server asgi|starlette PORT`.

It runs under uvicorn with the settings of the service, so that what the service costs more is the service's own work.
"""

import sys
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

ANSWER: Final = (
    b'{"requestId":"req_00000000000000000000000000","stored":"replicated","accepted":0,"duplicates":0,"rejected":[]}'
)
ACCEPTED: Final = 202
KEEP_ALIVE_S: Final = 75  # at a low rate a connection may be idle for long
_START: Final = {
    "type": "http.response.start",
    "status": ACCEPTED,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))],
}
_BODY: Final = {"type": "http.response.body", "body": ANSWER}


async def bare(_: Scope, receive: Receive, send: Send) -> None:
    """Read the body and answer, with no framework in between."""
    while (await receive()).get("more_body"):
        pass
    await send(_START)
    await send(_BODY)


async def _collect(request: Request) -> Response:
    await request.body()
    return Response(ANSWER, ACCEPTED, media_type="application/json")


APPS: Final[dict[str, ASGIApp]] = {
    "asgi": bare,
    "starlette": Starlette(routes=[Route("/events", _collect, methods=["POST"])]),
}


def main(name: str, port: int) -> None:
    """Serve the app of this name until SIGTERM."""
    uvicorn.run(
        APPS[name],
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
