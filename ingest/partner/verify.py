"""Is this the key's secret? bcrypt off the event loop, bounded, at the lowest priority; what was right is remembered.

Checking a secret takes about a quarter of a second of CPU by design, so a flood of wrong keys must not take it from
anybody: few threads check, few checks and few callers wait, and beyond that whoever is not known yet is told to come
again. A secret that was right passes by memory, which holds no secret: a digest under a key of this process, bound to
the stored hash, so that a rotated key is not remembered. Wrong ones are not remembered: what saves work for one key
would tell it from another.
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

CALLERS_MAX: Final = 96
"""Callers that wait for a check at once; several may wait for one."""

HASHES_MAX: Final = 24
"""New secrets that wait to be hashed. They have a thread of their own, so that a flood does not keep keys from being
rotated."""

RIGHT_MS: Final = 600_000
"""How long a right secret is remembered after its last use."""

REMEMBERED_MAX: Final = 10_000
_LOWEST_PRIORITY: Final = 19


class SecretVerifier:
    """Checks secrets, and makes new hashes, for one event loop."""

    def __init__(self, clock: Clock, check: Callable[[str, str], bool] = matches) -> None:
        self._clock = clock
        self._check = check
        self._pepper = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, int] = OrderedDict()
        self._checking: dict[bytes, asyncio.Future[bool]] = {}
        self._callers = 0
        self._checks = _Line(THREADS, WAITING_MAX)
        self._hashes = _Line(THREADS, HASHES_MAX)

    async def verify(self, key_id: str, secret: str, secret_hash: str) -> bool:
        """Tell whether the secret is right.

        Raises `Refusal` with `OVERLOADED` where too many wait for a check.
        """
        digest = self._digest(key_id, secret, secret_hash)
        now_ms = self._clock.monotonic_ms()
        if self._right.get(digest, now_ms) > now_ms:
            self._remember(digest)
            return True
        if self._callers >= CALLERS_MAX:
            raise Refusal(Code.OVERLOADED)
        checking = self._checking.get(digest)
        if checking is None:
            checking = asyncio.ensure_future(self._checks.run(lambda: self._check(secret, secret_hash)))
            self._checking[digest] = checking
            checking.add_done_callback(lambda _: self._checking.pop(digest, None))
        self._callers += 1
        try:
            is_right = await asyncio.shield(checking)
        finally:
            self._callers -= 1
        if is_right:
            self._remember(digest)
        return is_right

    async def hash(self, key_id: str, secret: str) -> str:
        """Return the hash of a new secret of ours, which needs no check then.

        Raises `Refusal` with `OVERLOADED` where too many wait for one.
        """
        secret_hash = await self._hashes.run(lambda: hash_secret(secret))
        self._remember(self._digest(key_id, secret, secret_hash))
        return secret_hash

    def close(self) -> None:
        """Let go of the threads; what waits is dropped."""
        self._checks.close()
        self._hashes.close()

    def _digest(self, key_id: str, secret: str, secret_hash: str) -> bytes:
        return hmac.digest(self._pepper, f"{key_id}\0{secret_hash}\0{secret}".encode(), "sha256")

    def _remember(self, digest: bytes) -> None:
        self._right[digest] = self._clock.monotonic_ms() + RIGHT_MS
        self._right.move_to_end(digest)
        if len(self._right) > REMEMBERED_MAX:
            self._right.popitem(last=False)


class _Line:
    """Threads of the lowest priority, and a bounded line of jobs before them."""

    def __init__(self, threads: int, waiting_max: int) -> None:
        self._jobs_max = threads + waiting_max
        self._jobs = 0
        self._threads = ThreadPoolExecutor(threads, "key-check", _yield_to_others)

    async def run(self, job: Callable[[], T]) -> T:
        """Return what the job returns. Raises `Refusal` with `OVERLOADED` where the line is full."""
        if self._jobs >= self._jobs_max:
            raise Refusal(Code.OVERLOADED)
        self._jobs += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, job)
        finally:
            self._jobs -= 1

    def close(self) -> None:
        """Let go of the threads; what waits is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _yield_to_others() -> None:
    """Run this thread only where nobody else wants the CPU; on Linux a thread has a priority of its own."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
