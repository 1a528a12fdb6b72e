"""Is this the key's secret? bcrypt off the event loop, bounded, at the lowest priority, and remembered for a while.

Checking a secret takes about a quarter of a second of CPU by design, so a flood of wrong keys must not take it from
anybody: few threads check, few checks wait, and beyond that whoever is not known yet is told to come again. A secret
that was right passes by memory, which holds no secret: a digest under a key of this process, bound to the stored hash,
so that a rotated key is not remembered.
"""

import asyncio
import contextlib
import hmac
import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from ingest.clock import Clock
from ingest.control.secrets import hash_secret, matches
from ingest.errors import Code, Refusal

T = TypeVar("T")

THREADS: Final = 1
WAITING_MAX: Final = 8
"""Secrets that wait for their check; with a thread's four a second the last one waits two seconds."""

RIGHT_MS: Final = 600_000
"""How long a right secret is remembered after its last use."""

WRONG_MS: Final = 60_000
REMEMBERED_MAX: Final = 10_000
_LOWEST_PRIORITY: Final = 19

NOBODYS_HASH: Final = "$2b$12$AaDOwML/Y3Xb3PsHYP/T6uyrn5Qle14NFsY6SA9391xqciAFrk1/e"
"""Stands in for the hash of a key that does not exist: checking against it takes the same work."""


class SecretVerifier:
    """Checks secrets, and makes new hashes, for one event loop."""

    def __init__(self, clock: Clock, check: Callable[[str, str], bool] = matches) -> None:
        self._clock = clock
        self._check = check
        self._pepper = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, int] = OrderedDict()
        self._wrong: OrderedDict[bytes, int] = OrderedDict()
        self._checking: dict[bytes, asyncio.Future[bool]] = {}
        self._jobs = 0
        self._threads = ThreadPoolExecutor(THREADS, "key-check", _yield_to_others)

    async def verify(self, key_id: str, secret: str, secret_hash: str | None) -> bool:
        """Tell whether the secret is right; `secret_hash` is None for a key that does not exist, which takes as long.

        Raises `Refusal` with `OVERLOADED` where too many secrets wait for their check.
        """
        stored = secret_hash or NOBODYS_HASH
        digest = hmac.digest(self._pepper, f"{key_id}\0{stored}\0{secret}".encode(), "sha256")
        now_ms = self._clock.monotonic_ms()
        if _remembers(self._right, digest, now_ms):
            _remember(self._right, digest, now_ms + RIGHT_MS)
            return True
        if _remembers(self._wrong, digest, now_ms):
            return False
        checking = self._checking.get(digest)
        if checking is None:
            checking = asyncio.ensure_future(self._off_the_loop(lambda: self._check(secret, stored)))
            self._checking[digest] = checking
            checking.add_done_callback(lambda _: self._checking.pop(digest, None))
        is_right = await asyncio.shield(checking) and secret_hash is not None
        if is_right:
            _remember(self._right, digest, now_ms + RIGHT_MS)
        else:
            _remember(self._wrong, digest, now_ms + WRONG_MS)
        return is_right

    async def hash(self, secret: str) -> str:
        """Return the hash of a new secret. Raises `Refusal` with `OVERLOADED` as `verify` does."""
        return await self._off_the_loop(lambda: hash_secret(secret))

    def close(self) -> None:
        """Let go of the threads; what waits is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _off_the_loop(self, job: Callable[[], T]) -> T:
        if self._jobs >= THREADS + WAITING_MAX:
            raise Refusal(Code.OVERLOADED)
        self._jobs += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, job)
        finally:
            self._jobs -= 1


def _remembers(memory: "OrderedDict[bytes, int]", digest: bytes, now_ms: int) -> bool:
    until_ms = memory.get(digest)
    if until_ms is None:
        return False
    if until_ms > now_ms:
        return True
    del memory[digest]
    return False


def _remember(memory: "OrderedDict[bytes, int]", digest: bytes, until_ms: int) -> None:
    memory[digest] = until_ms
    memory.move_to_end(digest)
    if len(memory) > REMEMBERED_MAX:
        memory.popitem(last=False)


def _yield_to_others() -> None:
    """Run this thread only where nobody else wants the CPU; on Linux a thread has a priority of its own."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
