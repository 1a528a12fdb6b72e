"""Who calls: what may be a key is looked up and checked, whatever it is, and nothing else costs any work."""

import asyncio
from typing import Any, cast

import pytest

from ingest.db.queries.keys import NOBODYS_HASH
from ingest.db.rows import KeyStanding
from ingest.errors import Code, Refusal
from ingest.partner.authenticate import HEADER_CHARACTERS_MAX, Authenticator, check_standing
from tests.ingest.partner.callers import HASH, KEY, KEY_ID, NEVER, SECRET, STANDING, FakeDatabase, standing


class Verifier:
    """Knows one pair of secret and hash as right, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str | None]] = []

    async def verify(self, key_id: str, secret: str, secret_hash: str | None) -> bool:
        """Check one secret."""
        self.asked.append((key_id, secret, secret_hash))
        return (secret, secret_hash) == (SECRET, HASH)


@pytest.fixture
def database() -> FakeDatabase:
    """Make a database that knows one key."""
    return FakeDatabase(STANDING)


@pytest.fixture
def verifier() -> Verifier:
    """Make a verifier."""
    return Verifier()


def authenticate(database: FakeDatabase, verifier: Verifier, header: bytes | None) -> KeyStanding | Code:
    """Authenticate, and return who it is or why not."""
    try:
        return asyncio.run(Authenticator(cast("Any", database), cast("Any", verifier)).authenticate(header))
    except Refusal as refused:
        return refused.code


@pytest.mark.parametrize(
    "header", [f"Bearer {KEY}", f"bearer {KEY}", f"BEARER {KEY}", f"Bearer   {KEY}", f"Bearer {KEY} "]
)
def test_forms_of_the_header(database: FakeDatabase, verifier: Verifier, header: str) -> None:
    """The scheme is known in any case, and spaces around the key are none of it."""
    assert authenticate(database, verifier, header.encode()) == STANDING
    assert verifier.asked == [(KEY_ID, SECRET, HASH)]
    assert [each["key_id"] for each in database.connection.asked] == [KEY_ID]


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"Bearer",
        b"Bearer ",
        KEY.encode(),
        f"Basic {KEY}".encode(),
        f"Bearer{KEY}".encode(),
        f"Bearer\t{KEY}".encode(),
        f"Bearer {KEY}x".encode(),
        f"Bearer {KEY}\xa0".encode("latin-1"),
        f"Bearer {KEY}\x85".encode("latin-1"),
        f"Bearer {KEY[:-1]}\xe9".encode("latin-1"),
        f"Bearer {KEY}".replace(".", "").encode(),
        f"Bearer {KEY}".replace("live", "prod").encode(),
        f"Bearer {KEY}".replace(KEY_ID, KEY_ID.lower()).encode(),
        f"Bearer {KEY}{' ' * HEADER_CHARACTERS_MAX}".encode(),
        b"\xff" * 50,
        b"Bearer \0" + KEY.encode(),
    ],
)
def test_what_cannot_be_a_key_costs_no_work(database: FakeDatabase, verifier: Verifier, header: bytes | None) -> None:
    """Missing, malformed and overlong headers are refused before anybody is asked."""
    assert authenticate(database, verifier, header) is Code.UNAUTHENTICATED
    assert (database.connection.asked, verifier.asked) == ([], [])


def test_a_wrong_secret(database: FakeDatabase, verifier: Verifier) -> None:
    """A secret that is not the key's is checked against its hash, and refused."""
    assert authenticate(database, verifier, f"Bearer lp_live_{KEY_ID}.{'w' * 43}".encode()) is Code.UNAUTHENTICATED
    assert verifier.asked == [(KEY_ID, "w" * 43, HASH)]


def test_unknown_keys_are_checked_all_the_same(database: FakeDatabase, verifier: Verifier) -> None:
    """An id that does not exist, and an env that is not the row's, each cost one query and one check."""
    other = KEY_ID.replace("3", "4")

    assert authenticate(database, verifier, f"Bearer lp_live_{other}.{SECRET}".encode()) is Code.UNAUTHENTICATED
    assert authenticate(database, verifier, f"Bearer lp_test_{KEY_ID}.{SECRET}".encode()) is Code.UNAUTHENTICATED
    assert verifier.asked == [(other, SECRET, NOBODYS_HASH), (KEY_ID, SECRET, HASH)]
    assert len(database.connection.asked) == 2


def test_without_the_database_nobody_is_known(database: FakeDatabase, verifier: Verifier) -> None:
    """While the database is away a call may be tried again, and no secret is checked."""
    database.away()

    assert authenticate(database, verifier, f"Bearer {KEY}".encode()) is Code.UNAVAILABLE
    assert verifier.asked == []


def refused(key: KeyStanding, scope: str | None = "keys:read") -> tuple[Code, object] | None:
    """Climb the ladder, and return where it ends."""
    try:
        check_standing(key, scope)
    except Refusal as refusal:
        return refusal.code, refusal.details
    return None


def test_the_ladder_in_its_order() -> None:
    """Each step hides those behind it: the key's kill, its end, the organization's kill, everybody's, the scope."""
    everything = {
        "kill_switch": True,
        "is_active": False,
        "organization_killed": True,
        "global_killed": True,
        "scopes": [],
    }
    steps = [
        ("kill_switch", (Code.KILL_SWITCH, {"scope": "key"})),
        ("is_active", (Code.REVOKED, None)),
        ("organization_killed", (Code.KILL_SWITCH, {"scope": "organization"})),
        ("global_killed", (Code.KILL_SWITCH, {"scope": "global"})),
        ("scopes", (Code.FORBIDDEN_SCOPE, {"requiredScope": "keys:read"})),
    ]
    for member, expected in steps:
        assert refused(standing(**everything)) == expected
        del everything[member]
    assert refused(standing()) is None


def test_a_key_is_revoked_by_either_mark() -> None:
    """A time of revocation counts as much as the flag."""
    assert refused(standing(revoked_at=NEVER)) == (Code.REVOKED, None)


def test_a_call_for_any_key_needs_no_scope() -> None:
    """A call without a scope is open to a key that has none."""
    assert refused(standing(scopes=[]), None) is None
