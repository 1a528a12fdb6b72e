"""What others run and is only looked up or greeted: hosts by their name, and Valkey."""

import socket
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from ingest.checks.finding import Finding, fault, ok
from ingest.counters.reach import answers
from ingest.settings import Settings


def names(urls: Iterable[tuple[str, str]]) -> Iterator[Finding]:
    """Tell of each setting and its URL whether the host's name leads to an address; nothing is called."""
    for variable, url in urls:
        host = urlsplit(url).hostname or ""
        try:
            socket.getaddrinfo(host, None)
        except (OSError, UnicodeError):
            yield fault("host", f"the host in {variable} has no address", "look at the setting, and at DNS here")
        else:
            yield ok("host", f"the host in {variable} has an address")


async def valkey(settings: Settings) -> Finding:
    """Tell whether Valkey answers."""
    if settings.redis_url is None:
        return ok("Valkey", "INGEST_REDIS_URL is not set: this process counts rates by itself")
    if await answers(settings.redis_url, network_private=settings.redis_network_private):
        return ok("Valkey", "Valkey answers")
    return fault("Valkey", "Valkey in INGEST_REDIS_URL does not answer", "look at host, account and network")
