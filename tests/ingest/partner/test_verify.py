"""Checking secrets: what is remembered and for how long, what waits, and what is turned away."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from ingest.clock import FakeClock
from ingest.control.secrets import matches, mint
from ingest.db.queries.keys import NOBODYS_HASH
from ingest.errors import Code, Refusal
from ingest.partner.verify import CALLERS_MAX, HASHES_MAX, RIGHT_MS, THREADS, WAITING_MAX, SecretVerifier


class Checks:
    """A check that counts its calls, knows one pair as right, and can be held up."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, secret: str, secret_hash: str) -> bool:
        """Check one secret."""
        self.calls.append((secret, secret_hash))
        assert self.gate.wait(10)
        return (secret, secret_hash) == ("right", "hash")


@pytest.fixture
def checks() -> Checks:
    """Make a check."""
    return Checks()


@pytest.fixture
def clock() -> FakeClock:
    """Make a clock."""
    return FakeClock()


@pytest.fixture
def verifier(checks: Checks, clock: FakeClock) -> Iterator[SecretVerifier]:
    """Make a verifier, and let go of its threads."""
    made = SecretVerifier(clock, checks)
    yield made
    checks.gate.set()
    made.close()


def verify(verifier: SecretVerifier, secret: str, secret_hash: str, key_id: str = "key") -> bool:
    """Ask once."""
    return asyncio.run(verifier.verify(key_id, secret, secret_hash))


def test_a_right_secret_is_remembered_while_it_is_used(
    verifier: SecretVerifier, checks: Checks, clock: FakeClock
) -> None:
    """Within the time after its last use a right secret costs no further check; then it is checked again."""
    for _ in range(5):
        assert verify(verifier, "right", "hash")
        clock.advance(RIGHT_MS - 1)
    assert len(checks.calls) == 1

    clock.advance(1)
    assert verify(verifier, "right", "hash")
    assert len(checks.calls) == 2


def test_memory_is_bound_to_the_stored_hash(verifier: SecretVerifier, checks: Checks) -> None:
    """A secret whose stored hash has changed, as by a rotation, is not remembered."""
    assert verify(verifier, "right", "hash")
    assert not verify(verifier, "right", "other hash")
    assert len(checks.calls) == 2


def test_a_wrong_secret_is_checked_each_time(verifier: SecretVerifier, checks: Checks) -> None:
    """What is wrong is not remembered: saved work would tell a key that exists from one that does not."""
    assert [verify(verifier, "wrong", "hash") for _ in range(3)] == [False] * 3
    assert [verify(verifier, "wrong", NOBODYS_HASH, "unknown") for _ in range(3)] == [False] * 3
    assert len(checks.calls) == 6


def test_nobodys_hash_is_a_hash_that_is_checked_in_full() -> None:
    """The hash for unknown keys is well formed and has the cost of real ones."""
    assert NOBODYS_HASH.startswith("$2b$12$")
    assert not matches("x" * 43, NOBODYS_HASH)


def test_many_at_once_are_one_check(verifier: SecretVerifier, checks: Checks) -> None:
    """Many calls with the same new key check it once."""

    async def ask() -> list[bool]:
        return await asyncio.gather(*(verifier.verify("key", "right", "hash") for _ in range(CALLERS_MAX)))

    assert asyncio.run(ask()) == [True] * CALLERS_MAX
    assert len(checks.calls) == 1


def test_few_callers_wait_for_one_check(verifier: SecretVerifier, checks: Checks) -> None:
    """Copies of one wrong key take no more places than their bound, and known keys pass meanwhile."""

    async def ask() -> None:
        assert await verifier.verify("good", "right", "hash")
        checks.gate.clear()
        waiting = [asyncio.create_task(verifier.verify("key", "wrong", "hash")) for _ in range(CALLERS_MAX)]
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as refused:
            await verifier.verify("key", "wrong", "hash")
        assert refused.value.code is Code.OVERLOADED
        assert await verifier.verify("good", "right", "hash")
        checks.gate.set()
        assert await asyncio.gather(*waiting) == [False] * CALLERS_MAX

    asyncio.run(ask())


def test_a_new_secret_is_known_at_once(verifier: SecretVerifier, checks: Checks) -> None:
    """What was hashed here needs no check here, and is hashed even while all checks are taken."""

    async def rotate() -> None:
        checks.gate.clear()
        flood = [
            asyncio.create_task(verifier.verify("key", f"wrong {number}", "hash"))
            for number in range(THREADS + WAITING_MAX)
        ]
        await asyncio.sleep(0)
        key = mint("live")
        secret_hash = await verifier.hash(key.key_id, key.secret)
        assert matches(key.secret, secret_hash)
        assert await verifier.verify(key.key_id, key.secret, secret_hash)
        checks.gate.set()
        await asyncio.gather(*flood)

    asyncio.run(rotate())
    assert len(checks.calls) == THREADS + WAITING_MAX


def test_hashes_have_a_bound(verifier: SecretVerifier) -> None:
    """More new secrets than may wait are turned away."""

    async def rotate() -> list[str | BaseException]:
        made = [verifier.hash("key", f"secret {number}") for number in range(THREADS + HASHES_MAX + 1)]
        return await asyncio.gather(*made, return_exceptions=True)

    *hashes, last = asyncio.run(rotate())
    assert all(isinstance(each, str) for each in hashes)
    assert isinstance(last, Refusal)
    assert last.code is Code.OVERLOADED


def test_a_flood_is_turned_away_and_known_keys_pass(verifier: SecretVerifier, checks: Checks) -> None:
    """Beyond the bound unverified secrets are refused at once, while a remembered one passes without waiting."""

    async def flood() -> None:
        assert await verifier.verify("good", "right", "hash")
        checks.gate.clear()
        waiting = [
            asyncio.create_task(verifier.verify("key", f"wrong {number}", "hash"))
            for number in range(THREADS + WAITING_MAX)
        ]
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as refused:
            await verifier.verify("key", "one too many", "hash")
        assert refused.value.code is Code.OVERLOADED
        assert await verifier.verify("good", "right", "hash")
        checks.gate.set()
        assert await asyncio.gather(*waiting) == [False] * len(waiting)
        assert not await verifier.verify("key", "one too many", "hash")

    asyncio.run(flood())


def test_one_who_leaves_does_not_end_the_check_of_another(verifier: SecretVerifier, checks: Checks) -> None:
    """A cancelled request leaves the shared check to those who still wait for it."""

    async def leave() -> bool:
        checks.gate.clear()
        first = asyncio.create_task(verifier.verify("key", "right", "hash"))
        second = asyncio.create_task(verifier.verify("key", "right", "hash"))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        checks.gate.set()
        return await second

    assert asyncio.run(leave())
    assert len(checks.calls) == 1
