"""Whether Valkey is there at all, for whoever is about to start."""

from asyncio import timeout
from typing import Final

from redis.exceptions import RedisError

from ingest.counters.connect import connect
from ingest.setting import Secret

PATIENCE_S: Final = 3.0


async def answers(url: Secret, *, network_private: bool) -> bool:
    """Return whether Valkey answers a greeting with the account in `url`; nothing is written."""
    client = connect(url, network_private=network_private, wait_s=PATIENCE_S)
    try:
        async with timeout(PATIENCE_S):
            return bool(await client.ping())
    except (RedisError, OSError):
        return False
    finally:
        await client.aclose()
