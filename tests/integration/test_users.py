"""What is said of users, on a real PostgreSQL: the newest wins, whatever order and however often it comes."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.consume.step import Poison
from ingest.db.migrate import migrate
from ingest.persist.statement import said_of_consent, said_of_properties
from ingest.persist.users import UserWriter
from ingest.transport.contract import SCHEMA, Delivered, Topic
from normalize import email_digest
from tests.support.rows import ask, opened, said


def at(second: int) -> str:
    """Return a time stamp of a day of tests."""
    return f"2026-11-24T10:00:{second:02}.000Z"


@pytest.fixture
def dsn(database: str) -> str:
    """Provide a database with a schema."""
    migrate(database)
    return database


def keep(dsn: str, *batches: Sequence[Delivered]) -> list[Poison]:
    """Give batches to the writers, one after the other; return the poison."""

    async def run() -> list[Poison]:
        async with opened(dsn) as database:
            writers = {
                Topic.USER_PROPERTIES: UserWriter(database, "user_properties", said_of_properties),
                Topic.CONSENT: UserWriter(database, "consents", said_of_consent),
            }
            return [each for batch in batches for each in await writers[batch[0].topic].do(batch)]

    return asyncio.run(run())


def properties(second: int, received: int = 59, *, once: bool = False, **values: Any) -> Delivered:
    """Return the record of what was said at a second, and received at another."""
    statement = {"app_user_id": "u", "properties": values, "timestamp": at(second)}
    return said(Topic.USER_PROPERTIES, statement | ({"set_once": True} if once else {}), received_at=at(received))


def kept(dsn: str) -> dict[str, Any]:
    """Return the properties that are kept."""
    return {row["name"]: row["value"] for row in ask(dsn, "SELECT name, value FROM user_properties")}


def test_the_newest_wins_for_each_property(dsn: str) -> None:
    """Late ones change nothing but what nobody said later; repeats change nothing."""
    early, late = properties(10, plan="free", city="Bonn"), properties(20, plan="pro")
    keep(dsn, [late], [early], [early, late])

    assert kept(dsn) == {"plan": "pro", "city": "Bonn"}


def test_a_clock_that_is_ahead_does_not_win_for_ever(dsn: str) -> None:
    """What was said later than it was received counts from its receipt."""
    keep(dsn, [properties(50, 10, plan="wrong clock")], [properties(20, 21, plan="right clock")])

    assert kept(dsn) == {"plan": "right clock"}


def test_once_fills_only_what_is_absent(dsn: str) -> None:
    """Also within a batch, in the order in which it comes; null is a value."""
    keep(
        dsn,
        [properties(10, once=True, first="a", set=0), properties(20, once=True, first="b"), properties(30, set=1)],
        [properties(40, once=True, first="c", set=2, other=None)],
        [properties(50, once=True, other=1)],
    )

    assert kept(dsn) == {"first": "a", "set": 1, "other": None}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    statements=st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9), st.dictionaries(st.sampled_from("abc"), st.integers())),
        min_size=1,
        max_size=6,
        unique_by=lambda each: (min(each[0], each[1]), each[1]),
    ),
    data=st.data(),
)
def test_the_order_of_coming_does_not_matter(
    dsn: str, statements: list[tuple[int, int, dict[str, Any]]], data: st.DataObject
) -> None:
    """Whatever comes first and however often: what is kept follows from what was said alone."""
    records = [properties(second, received, **values) for second, received, values in statements]
    coming = data.draw(st.permutations(records + records))
    cut = data.draw(st.integers(0, len(coming)))
    ask(dsn, "TRUNCATE user_properties")
    keep(dsn, *(part for part in (coming[:cut], coming[cut:]) if part))

    expected: dict[str, Any] = {}
    for second, received, values in sorted(statements, key=lambda each: (min(each[0], each[1]), each[1])):
        assert second >= 0 <= received
        expected |= values
    assert kept(dsn) == expected


def test_a_choice_that_is_left_out_stays(dsn: str) -> None:
    """Each choice has its own newest statement, for each id."""
    first = {"app_user_id": "u", "install_id": "i", "advertising": True, "analytics": True, "timestamp": at(10)}
    second = {"app_user_id": "u", "advertising": False, "att_status": "denied", "timestamp": at(20)}
    keep(dsn, [said(Topic.CONSENT, second, received_at=at(59))], [said(Topic.CONSENT, first, received_at=at(59))])

    found = ask(dsn, "SELECT user_kind, user_id, name, value FROM consents ORDER BY user_kind, name")
    assert [tuple(row.values()) for row in found] == [
        ("app_user_id", "u", "advertising", False),
        ("app_user_id", "u", "analytics", True),
        ("app_user_id", "u", "att_status", "denied"),
        ("install_id", "i", "advertising", True),
        ("install_id", "i", "analytics", True),
    ]


def test_one_record_that_cannot_be_used_costs_no_other(dsn: str) -> None:
    """What is no statement, and what the database refuses, is set aside alone."""
    good, other = properties(10, plan="pro"), properties(11, city="Bonn")
    bad = good._replace(value=b"nope")
    refused = good._replace(value=good.value.replace(at(10).encode(), b"10000-13-99T99:99:99Z"))
    poison = keep(dsn, [good, bad, refused, other])

    assert [(each.record, each.reason) for each in poison] == [(bad, "record_malformed"), (refused, "row_refused")]
    assert kept(dsn) == {"plan": "pro", "city": "Bonn"}


def test_values_survive(dsn: str) -> None:
    """Integers of any size, and an e-mail as its digest in a column of its own."""
    keep(dsn, [properties(10, n=12345678901234567890123, email="A@b.c", z="a\0b")])

    assert kept(dsn) == {"n": 12345678901234567890123, "email_sha256": email_digest("a@b.c"), "z": "a\ufffdb"}
    assert ask(dsn, "SELECT digests FROM user_properties WHERE name = 'email_sha256'") == [
        {"digests": [email_digest("a@b.c")]}
    ]


def test_what_has_no_schema_is_told(dsn: str) -> None:
    """A record of another kind is set aside."""
    (poison,) = keep(dsn, [properties(10, a=1)._replace(headers=())])
    assert (poison.reason, SCHEMA[0] in poison.record.headers) == ("schema_unknown", False)
