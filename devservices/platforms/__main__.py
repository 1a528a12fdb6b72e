"""The fake platforms as a program of their own: `python -m devservices.platforms --port 8090`."""

import argparse
import asyncio
import signal
import sys

import uvloop

from devservices.errors import DevServiceError
from devservices.platforms.fake import FakePlatforms
from devservices.platforms.ledger import EVENTS_KEPT


async def _serve(platforms: FakePlatforms) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    listener = platforms.listen()
    sys.stdout.write(f"fake Meta and TikTok at {platforms.url}\n")
    sys.stdout.flush()
    await platforms.serve(listener, stop)


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m devservices.platforms", description="Fake Meta and TikTok.")
    parser.add_argument("--port", type=int, default=None, help="port on 127.0.0.1; without it a free one")
    parser.add_argument("--latency-ms", type=int, default=0, help="least time that an answer takes")
    parser.add_argument("--events-kept", type=int, default=EVENTS_KEPT, help="how many of the newest events are listed")
    given = parser.parse_args()
    platforms = FakePlatforms(port=given.port, latency_ms=given.latency_ms, events_kept=given.events_kept)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(platforms))
    except DevServiceError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
