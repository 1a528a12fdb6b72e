"""How Valkey is reached: `redis://`, `rediss://` with TLS, or `unix://`."""

import ssl
from typing import Any, Final
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ingest.counters.cache import WAIT_S
from ingest.setting import Secret, crosses_in_clear

CLIENT_NAME: Final = "ingest-edge"
CONNECTIONS_MAX: Final = 16
"""Connections of one process; further calls wait for one, within their own bound."""


def connect(url: Secret, *, network_private: bool = False, wait_s: float = WAIT_S) -> Redis:
    """Return a client for `url`, a value of `INGEST_REDIS_URL`; nothing is connected before the first call.

    Raises `ValueError`, without the URL, where the way would leave this machine in clear text although the network is
    not `network_private`. `wait_s` bounds each connect, each answer, and the wait for a free connection.
    """
    if crosses_in_clear(url) and not network_private:
        raise ValueError("the way to Valkey is not encrypted")
    options: dict[str, Any] = {
        "client_name": CLIENT_NAME,
        "driver_info": None,
        "protocol": 2,  # no push messages, and no question about them at each connect
        "socket_connect_timeout": wait_s,
        "socket_timeout": wait_s,
        # A command that was sent may have been executed: sent again it would count twice, or find its own claim.
        "retry": Retry(NoBackoff(), 0),
    }
    if urlsplit(url.reveal()).scheme == "rediss":
        options["ssl_min_version"] = ssl.TLSVersion.TLSv1_2
    pool = BlockingConnectionPool.from_url(url.reveal(), max_connections=CONNECTIONS_MAX, timeout=wait_s, **options)
    return Redis.from_pool(pool)
