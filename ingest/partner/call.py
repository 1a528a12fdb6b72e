"""One call of a partner, as its handler sees it, and what the handler answers."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from ingest.control.record import Actor
from ingest.db.rows import KeyStanding
from ingest.errors import Code, Refusal
from ingest.transport.contract import Stored


class Replay(NamedTuple):
    """What is known of the first call with the same idempotency key, whose answer is to be derived again."""

    status: int
    stored: Stored | None


class Call(msgspec.Struct, frozen=True):
    """A call that passed the ladder. `path` holds the path's parameters, `query` each parameter once.

    `replay` is set for a repeat: nothing may be changed then, only the answer derived.
    """

    key: KeyStanding
    request_id: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    facts: "Facts"
    own_addresses: tuple[Any, ...] = ()
    replay: Replay | None = None

    @property
    def actor(self) -> Actor:
        """Who acts, for the audit log."""
        return Actor.key(self.key.id, self.request_id)


class Facts(msgspec.Struct):
    """What the request log keeps of a call besides status and time; filled in while it is answered."""

    organization_id: str | None = None
    project_id: str | None = None
    app_id: str | None = None
    key_id: str | None = None
    code: str | None = None
    request_bytes: int = 0
    response_bytes: int = 0
    replayed: bool = False


class Answer(NamedTuple):
    """A status and a value that JSON can express; `stored` is the promise given for events."""

    status: int
    body: Any
    stored: Stored | None = None


Handler = Callable[[Call], Awaitable[Answer]]


class Fault(msgspec.Struct, frozen=True):
    """One thing that does not hold up in a request: where, and why, without any value."""

    path: str
    message: str


def invalid(faults: list[Fault]) -> Refusal:
    """Return the refusal that tells all faults at once."""
    return Refusal(Code.VALIDATION, details={"errors": faults})
