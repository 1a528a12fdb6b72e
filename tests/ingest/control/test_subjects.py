"""What people know of somebody becomes what stands in rows, exactly as an event's members do."""

import hashlib
from typing import Any

import pytest

from ingest.control.subjects import KnownBy, NoSubject, subjects_of
from normalize import EMPTY, identify


def sha(text: str) -> str:
    """Return the digest of a text as it is."""
    return hashlib.sha256(text.encode()).hexdigest()


def digests_in(member: str, value: Any) -> set[str]:
    """Return the digests that an event with this member holds."""
    return set(identify({member: value}).value.values())


@pytest.mark.parametrize(
    ("known_by", "value", "expected"),
    [
        ("email", " Ann@Example.COM ", [sha("ann@example.com")]),
        ("email", " " + "AB" * 32 + " ", ["ab" * 32]),
        ("phone", "020 7946 0018", [sha("02079460018")]),
        ("phone", "+1 213-373-4253", [sha("12133734253"), sha("+12133734253")]),
        ("phone", "+44 (0)20 7946 0018", [sha("4402079460018"), sha("+442079460018")]),
        ("phone", "+86 138 0013 8000", [sha("8613800138000"), sha("+8613800138000"), sha("13800138000")]),
        ("phone", "ab" * 32, ["ab" * 32]),
        ("user-id", " Ann@Example.COM ", [" Ann@Example.COM "]),
    ],
)
def test_every_form_is_found(known_by: KnownBy, value: str, expected: list[str]) -> None:
    """A value gives all digests that the edge can have made of it; a user id stays as it is."""
    assert list(subjects_of(known_by, value)) == expected
    if known_by != "user-id":
        assert digests_in(known_by, value) == set(expected)


@pytest.mark.parametrize(
    ("known_by", "value"),
    [
        ("email", ""),
        ("email", " \u00a0 "),
        ("email", EMPTY),
        ("phone", ""),
        ("phone", "ext. x"),
        ("phone", EMPTY),
        ("user-id", ""),
        ("user-id", "secret\0"),
    ],
)
def test_nobody_is_told_without_the_value(known_by: KnownBy, value: str) -> None:
    """Where there is nothing to look for, that is said, and nothing else."""
    with pytest.raises(NoSubject) as refused:
        subjects_of(known_by, value)

    assert "secret" not in str(refused.value)
    assert ("hash" in str(refused.value)) == (known_by != "user-id")
