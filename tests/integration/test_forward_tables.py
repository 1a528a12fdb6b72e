"""What forwarding keeps in PostgreSQL and learns from it, with the rights that it has there."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import psycopg
import pytest

from ingest.control.forwarding import tell_destination
from ingest.conversion import Conversion, ConversionMeta, ConversionRecord, Platform
from ingest.db.database import Database
from ingest.db.migrate import migrate
from ingest.db.queries.deliveries import delivery_counts
from ingest.db.queries.destinations import (
    DestinationSeen,
    DestinationState,
    State,
    destinations,
    forget_worker,
    keep_worker,
    workers,
)
from ingest.erasure import subject_of
from ingest.forward.job import Key
from ingest.forward.outcome import Fate, Outcome
from ingest.forward.person import Person, complete
from ingest.forward.tables import DeliveryTable, KnownPeople
from ingest.persist.statement import said_of_consent, said_of_properties
from ingest.persist.users import UserWriter
from ingest.transport.contract import Topic
from tests.support.rows import ask, opened, said

T = TypeVar("T")
SENT = Outcome(Fate.SENT)
MAIL = "ab" * 32
PHONE = "cd" * 32


@pytest.fixture
def store(database: str) -> Iterator[str]:
    """Provide a database whose login has the rights of `ingest_forward` and no others."""
    migrate(database)
    with psycopg.connect(database, autocommit=True) as connection:
        name = f"{connection.info.dbname}_forward"
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'word' IN ROLE ingest_forward".encode())
    yield f"postgresql://{name}:word@{database.rpartition('@')[2]}"
    ask(database, f"DROP ROLE {name}")


def on(dsn: str, work: Callable[[Database], Awaitable[T]]) -> T:
    """Do work on a pool."""

    async def story() -> T:
        async with opened(dsn) as database:
            return await work(database)

    return asyncio.run(story())


def key(number: int, platform: Platform = Platform.META) -> Key:
    """Return the key of a delivery."""
    return Key("app_a", f"e-{number}", "2026-01-01T00:00:00Z", platform)


def record(received_at: str = "2026-11-24T10:00:00.000Z", **event: Any) -> ConversionRecord:
    """Return a conversion of a user."""
    meta = ConversionMeta(1, "app_demo", "prj_demo", "org_demo", received_at, "req_1", "sdk", {}, "e-1")
    return ConversionRecord(meta, Conversion("purchase", received_at, {Platform.META: "Purchase"}, **event))


def test_ends_are_kept_once(store: str) -> None:
    """The first end of a delivery stays; others of the same event do not hide it."""

    async def story(database: Database) -> tuple[set[Key], list[tuple[str, str, str, int]]]:
        table = DeliveryTable(database)
        await table.keep({key(1): SENT, key(2): Outcome(Fate.REFUSED, "100/2804003")})
        await table.keep({key(1): Outcome(Fate.EXPIRED, "parked_full"), key(1, Platform.TIKTOK): SENT})
        found = await table.ended([key(1), key(2), key(3), key(1, Platform.TIKTOK), key(2, Platform.TIKTOK)])
        counts = await database.run(lambda connection: delivery_counts(connection, hours=1))
        return found, [(each.platform, each.fate, each.reason, each.count) for each in counts]

    found, counts = on(store, story)

    assert found == {key(1), key(2), key(1, Platform.TIKTOK)}
    assert counts == [("meta", "refused", "100/2804003", 1), ("meta", "sent", "", 1), ("tiktok", "sent", "", 1)]


def test_thousands_of_keys_are_one_question(store: str) -> None:
    """Each is found by the index alone, whatever else is there."""

    async def story(database: Database) -> set[Key]:
        table = DeliveryTable(database)
        await table.keep({key(number): SENT for number in range(5_000)})
        return await table.ended([key(number) for number in range(4_000, 9_000)])

    assert on(store, story) == {key(number) for number in range(4_000, 5_000)}


def say(owner: str, *statements: tuple[Topic, dict[str, object]]) -> None:
    """Keep statements as `persist` does."""
    writers = {
        Topic.CONSENT: ("consents", said_of_consent),
        Topic.USER_PROPERTIES: ("user_properties", said_of_properties),
    }

    async def story(database: Database) -> None:
        for topic, statement in statements:
            table, read = writers[topic]
            assert await UserWriter(database, table, read).do([said(topic, statement)]) == []  # type: ignore[arg-type]

    on(owner, story)


def people(store: str, *records: ConversionRecord) -> list[Person]:
    """Return who is behind conversions."""

    async def story(database: Database) -> list[Person]:
        return list(await KnownPeople(database).of(records))

    return on(store, story)


def test_the_newest_choice_counts(store: str, database: str) -> None:
    """Over all ids of a user, whichever it was made under; a choice under another app's id is none."""
    early, late = "2026-11-24T09:00:00Z", "2026-11-24T09:30:00Z"
    say(
        database,
        (Topic.CONSENT, {"app_user_id": "ann", "timestamp": early, "advertising": True}),
        (Topic.CONSENT, {"install_id": "phone", "timestamp": late, "advertising": False}),
        (Topic.CONSENT, {"app_user_id": "bob", "timestamp": late, "advertising": True}),
        (Topic.CONSENT, {"app_user_id": "kim", "timestamp": late, "analytics": False}),
    )

    found = people(
        store,
        record(app_user_id="ann"),
        record(app_user_id="ann", install_id="phone"),
        record(app_user_id="bob", install_id="tablet"),
        record(app_user_id="kim"),
        record(install_id="ann"),
        record(),
    )

    assert [person.advertising for person in found] == [True, False, True, None, None, None]


def test_two_choices_at_the_same_time_are_a_denial(store: str, database: str) -> None:
    """Whoever cannot be asked is not advertised to."""
    at = "2026-11-24T09:00:00Z"
    say(
        database,
        (Topic.CONSENT, {"app_user_id": "ann", "timestamp": at, "advertising": False}),
        (Topic.CONSENT, {"install_id": "phone", "timestamp": at, "advertising": True}),
    )

    (found,) = people(store, record(app_user_id="ann", install_id="phone"))

    assert found.advertising is False


def properties(at: str, **values: object) -> tuple[Topic, dict[str, object]]:
    """Return a statement of a user's properties."""
    return Topic.USER_PROPERTIES, {"app_user_id": "ann", "timestamp": f"2026-11-24T{at}Z", "properties": values}


def test_properties_complete_a_conversion(store: str, database: str) -> None:
    """Digests, click ids and the locale of what was said before; nothing else of the properties is handed on."""
    say(
        database,
        properties(
            "09:00:00",
            email="Ann@House.example",
            phone="+49 30 1234567",
            plan="pro",
            locale="de_DE",
            **{"$fbp": "fb.1"},
        ),
    )

    ann, other = people(store, record(app_user_id="ann"), record(app_user_id="bob"))
    completed = complete(record(app_user_id="ann", locale="en_US").event, ann)

    assert [len(each) for each in (ann.email_sha256, ann.phone_sha256, ann.phone_e164_sha256)] == [1, 1, 1]
    assert ann.phone_national_sha256 == ()
    assert (completed.fbp, completed.locale, completed.email_sha256) == ("fb.1", "en_US", ann.email_sha256)
    assert other == Person()


def test_a_former_phone_number_is_no_form_of_the_present_one(store: str, database: str) -> None:
    """A number without its country has one form, whatever forms the one before it had."""
    say(database, properties("09:00:00", phone="+49 30 1234567"), properties("09:30:00", phone="030 7654321"))

    (ann,) = people(store, record(app_user_id="ann"))

    assert len(ann.phone_sha256) == 1
    assert ann.phone_e164_sha256 == ()


def test_who_is_erased_is_known(store: str, database: str) -> None:
    """By id and by digest, and only for what was received until then."""
    ask(
        database,
        "INSERT INTO erased_subjects (project_id, subject, erasure_id, received_until)"
        " SELECT 'prj_demo', unnest(%s::text[]), 'era_1', '2026-11-24T10:00:00Z'",
        ([subject_of("ann"), subject_of(MAIL)],),
    )
    later = "2026-11-24T10:00:00.001Z"

    found = people(
        store,
        record(app_user_id="ann"),
        record(user_id="ann"),
        record(later, app_user_id="ann"),
        record(app_user_id="bob"),
    )

    assert [person.is_erased for person in found] == [True, True, False, False]


def told(database: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the actions of the audit log, and types and recipients of messages."""
    actions = ask(database, "SELECT action FROM audit_events WHERE target_type = 'destination' ORDER BY id")
    messages = ask(database, "SELECT payload->>'type' AS type, recipient FROM outbox ORDER BY created_at, recipient")
    return [row["action"] for row in actions], [(row["type"], row["recipient"]) for row in messages]


def test_a_pause_is_told_once(store: str, database: str) -> None:
    """To the support and to the organization, when it begins and when it ends, however often it is seen."""
    ask(database, "INSERT INTO organizations VALUES ('org_a', 'A', 'ops@a.example'), ('org_b', 'B', 'ops@b.example')")
    states: list[tuple[State, str]] = [
        ("healthy", ""),
        ("degraded", "timeout"),
        ("paused", "190"),
        ("paused", "190"),
        ("paused", "timeout"),
        ("degraded", "timeout"),
        ("healthy", ""),
    ]

    async def story(database: Database) -> list[bool]:
        told = []
        for state, reason in states:
            tell = partial(
                tell_destination, organization_id="org_a", seen=DestinationSeen("app_a", "meta", state, reason)
            )
            told.append(await database.transact(tell))
        return told

    assert on(store, story) == [False, False, True, False, False, True, False]
    assert told(database) == (
        ["destination.paused", "destination.resumed"],
        [
            ("forward.paused", "organization"),
            ("forward.paused", "support"),
            ("forward.resumed", "organization"),
            ("forward.resumed", "support"),
        ],
    )
    assert {row["organization_id"] for row in ask(database, "SELECT organization_id FROM outbox")} == {"org_a"}
    (payload, *_) = ask(database, "SELECT payload FROM outbox ORDER BY created_at")
    assert payload["payload"]["reason"] == "190"


def test_how_it_goes_is_kept(store: str) -> None:
    """`since` moves with the state alone, and the last success never goes back."""
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)

    async def keep(database: Database, state: State, success: datetime | None) -> DestinationState:
        seen = DestinationSeen("app_a", "meta", state, "", success)
        await database.transact(lambda connection: tell_destination(connection, "org_a", seen))
        (found,) = await database.run(destinations)
        return found

    async def story(database: Database) -> list[DestinationState]:
        return [
            await keep(database, "healthy", late),
            await keep(database, "healthy", early),
            await keep(database, "degraded", None),
        ]

    first, second, third = on(store, story)

    assert (first.since, first.last_success_at) == (second.since, second.last_success_at)
    assert third.since > first.since
    assert (third.state, third.last_success_at) == ("degraded", late)


def test_processes_that_forward_are_known(store: str, database: str) -> None:
    """While they are seen; one that ends is forgotten at once, and one that is silent after a minute."""

    async def story(pool: Database) -> list[list[tuple[str, int, int]]]:
        found = []
        await pool.run(lambda connection: keep_worker(connection, "a", 5, 7))
        await pool.run(lambda connection: keep_worker(connection, "b", 1, 0))
        await pool.run(lambda connection: keep_worker(connection, "a", 6, 8))
        found.append([(each.id, each.lag_records, each.parked_records) for each in await pool.run(workers)])
        await pool.run(lambda connection: forget_worker(connection, "a"))
        ask(database, "UPDATE forward_workers SET seen_at = now() - interval '2 minutes'")
        found.append([(each.id, each.lag_records, each.parked_records) for each in await pool.run(workers)])
        return found

    assert on(store, story) == [[("a", 6, 8), ("b", 1, 0)], []]
