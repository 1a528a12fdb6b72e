"""What was done under a client's `Idempotency-Key`, so that a repeat does nothing and is answered alike.

An entry is named by a digest and holds the digest of the body, how far the work is, the status and what was promised
for events. Answers are derived from those again, so nothing that a client sent or was told is kept.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import msgspec

LEASE_S: Final = 30
"""How long a claim lasts whose work neither ends nor is given up, as after a crash; longer than any work takes."""

KEPT_S: Final = 24 * 60 * 60
NAME_PREFIX: Final = "ingest:idempotency:"

StoredAs = Literal["replicated", "spooled"]
"""What was promised for events."""

_CLIENT_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that is kept of one piece of work; `status` is 0 while it is running."""

    body_sha256: str
    state: Literal["running", "done"]
    status: int = 0
    stored: StoredAs | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """The work is the caller's, who ends it with `finish` or `free`."""


@dataclass(frozen=True, slots=True)
class Running:
    """Somebody is at the same work now."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """The key was used for another body, whatever became of that."""


@dataclass(frozen=True, slots=True)
class Done:
    """The work was done and answered with `status`; `stored` is what was promised for events."""

    status: int
    stored: StoredAs | None


Claim = Claimed | Running | Conflict | Done


class IdempotencyStore(Protocol):
    """Where entries are kept. Every call raises `CacheAway`, within a bounded wait, where that cannot be reached."""

    async def claim(self, name: str, body_sha256: str) -> Claim:
        """Begin the work called `name` for a body, unless it was begun before; of callers at once one is `Claimed`."""

    async def finish(self, name: str, body_sha256: str, status: int, stored: StoredAs | None = None) -> None:
        """Remember for 24 h that the work was done."""

    async def free(self, name: str) -> None:
        """Forget the entry, so that the work may be begun again."""


def entry_name(key_id: str, endpoint: str, idempotency_key: str) -> str:
    """Return the name of the entry: a prefix and a digest over all three, which tells none of them.

    Raises `ValueError`, without the key, where that is not 1 to 255 visible ASCII characters.
    """
    if _CLIENT_KEY.fullmatch(idempotency_key) is None:
        raise ValueError("an idempotency key has 1 to 255 visible ASCII characters")
    named = msgspec.json.encode((key_id, endpoint, idempotency_key))
    return NAME_PREFIX + hashlib.sha256(named).hexdigest()


def standing(entry: Entry, body_sha256: str) -> Running | Conflict | Done:
    """Tell what an entry that exists means for a caller with this body."""
    if entry.body_sha256 != body_sha256:
        return Conflict()
    return Running() if entry.state == "running" else Done(entry.status, entry.stored)
