"""Checking secrets: what is remembered and for how long, what waits, and what is turned away."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from ingest.clock import FakeClock
from ingest.control.secrets import matches
from ingest.errors import Code, Refusal
from ingest.partner.verify import NOBODYS_HASH, RIGHT_MS, THREADS, WAITING_MAX, WRONG_MS, SecretVerifier


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


def verify(verifier: SecretVerifier, secret: str, secret_hash: str | None, key_id: str = "key") -> bool:
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


def test_a_wrong_secret_is_wrong_for_a_while(verifier: SecretVerifier, checks: Checks, clock: FakeClock) -> None:
    """The same wrong secret costs one check in a minute, so a client with an old key does no harm."""
    assert [verify(verifier, "wrong", "hash") for _ in range(3)] == [False] * 3
    assert len(checks.calls) == 1

    clock.advance(WRONG_MS)
    assert not verify(verifier, "wrong", "hash")
    assert len(checks.calls) == 2


def test_an_unknown_key_costs_the_same_work(verifier: SecretVerifier, checks: Checks) -> None:
    """For a key that does not exist a hash of nobody's is checked, whatever was asked of other keys before."""
    assert not verify(verifier, "right", None, "unknown 1")
    assert not verify(verifier, "right", None, "unknown 2")
    assert checks.calls == [("right", NOBODYS_HASH)] * 2


def test_nobodys_hash_is_a_hash_that_is_checked_in_full() -> None:
    """The hash for unknown keys is well formed and has the cost of real ones."""
    assert NOBODYS_HASH.startswith("$2b$12$")
    assert not matches("x" * 43, NOBODYS_HASH)


def test_an_unknown_key_never_passes(clock: FakeClock) -> None:
    """Even a secret that matches nobody's hash is not right for a key that does not exist."""
    verifier = SecretVerifier(clock, lambda _secret, _hash: True)
    assert not verify(verifier, "any", None)
    verifier.close()


def test_many_at_once_are_one_check(verifier: SecretVerifier, checks: Checks) -> None:
    """Fifty calls with the same new key check it once."""

    async def ask() -> list[bool]:
        return await asyncio.gather(*(verifier.verify("key", "right", "hash") for _ in range(50)))

    assert asyncio.run(ask()) == [True] * 50
    assert len(checks.calls) == 1


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
