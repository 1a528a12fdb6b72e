"""Who calls, and a database that knows them, for tests without either."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec

from ingest.control.keys import SCOPES
from ingest.db.database import DatabaseAway
from ingest.db.queries.keys import NOBODYS_HASH
from ingest.db.rows import KeyStanding
from ingest.partner.call import Call, Facts

KEY_ID = "01JDF3M2R7W5Q9KX4T8B6C0ZEA"
SECRET = "s" * 43
KEY = f"lp_live_{KEY_ID}.{SECRET}"
HASH = "the hash of the secret"
ORGANIZATION = "org_demo"
NEVER = datetime(2026, 11, 24, tzinfo=UTC)

STANDING = KeyStanding(
    id=KEY_ID,
    known=True,
    organization_id=ORGANIZATION,
    organization_name="Demo",
    env="live",
    secret_hash=HASH,
    scopes=list(SCOPES),
    tier="standard",
    is_active=True,
    kill_switch=False,
    revoked_at=None,
    organization_killed=False,
    global_killed=False,
)

NOBODY = msgspec.structs.replace(STANDING, known=False, secret_hash=NOBODYS_HASH)
"""What the database answers for an id that does not exist."""


def standing(**members: Any) -> KeyStanding:
    """Return the standing of a key that may do everything, but for `members`."""
    return msgspec.structs.replace(STANDING, **members)


def call(body: bytes = b"", *, path: Mapping[str, str] | None = None, **members: Any) -> Call:
    """Return a call as its handler sees it."""
    seen = Call(
        key=STANDING,
        request_id="req_01JDF3QK4V8Z6X2M9T5B7C1DHE",
        path=path or {},
        query={},
        body=body,
        facts=Facts(),
    )
    return msgspec.structs.replace(seen, **members)


class FakeConnection:
    """Answers a query for a key by the rows that it was given, and keeps what is written."""

    def __init__(self, standings: Mapping[str, KeyStanding]) -> None:
        self._standings = standings
        self.asked: list[Any] = []
        self.copied: list[Sequence[Any]] = []
        self.rowcount = 1

    @asynccontextmanager
    async def cursor(self, **_: Any) -> AsyncIterator["FakeConnection"]:
        """Yield a cursor, which is the same thing."""
        yield self

    @asynccontextmanager
    async def copy(self, _: str) -> AsyncIterator["FakeConnection"]:
        """Yield what takes rows; they count where nothing was raised."""
        self._copying: list[Sequence[Any]] = []
        yield self
        self.copied += self._copying

    async def write_row(self, row: Sequence[Any]) -> None:
        """Take a row."""
        self._copying.append(row)

    async def execute(self, _: str, parameters: Mapping[str, Any]) -> None:
        """Hear a statement."""
        self.asked.append(parameters)

    async def fetchone(self) -> KeyStanding:
        """Return the key that was asked for, or what stands for none."""
        return self._standings.get(self.asked[-1]["key_id"], NOBODY)


class FakeDatabase:
    """Does work on a `FakeConnection`, unless it is away or told to raise something else."""

    def __init__(self, *standings: KeyStanding) -> None:
        self.connection = FakeConnection({each.id: each for each in standings})
        self.failing: BaseException | None = None

    def away(self) -> None:
        """Answer nothing from now on."""
        self.failing = DatabaseAway("away")

    async def run(self, work: Callable[[Any], Awaitable[Any]]) -> Any:
        """Do work."""
        if self.failing is not None:
            raise self.failing
        return await work(self.connection)
