"""Queries by which somebody is erased, and kept out."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from psycopg import sql

from ingest.db.database import Connection
from ingest.db.rows import change, fetch_all, fetch_one
from ingest.erasure import Erasure

_THEIRS: Final = sql.SQL(
    "(user_id = ANY(%(subjects)s) OR app_user_id = ANY(%(subjects)s) OR digests && %(subjects)s::text[])"
)
# For an erasure that another database was asked for: only the digests of its subjects came along.
_THEIRS_BY_DIGEST: Final = sql.SQL(
    """
    EXISTS (
        SELECT FROM unnest(array[user_id, app_user_id] || digests) AS theirs (subject)
        JOIN erased_subjects AS erased ON erased.subject = encode(sha256(convert_to(theirs.subject, 'UTF8')), 'hex')
        WHERE erased.erasure_id = %(id)s
    )
    """
)
DAYS: Final = sql.SQL(
    """
    SELECT DISTINCT ts::date::text FROM (
        SELECT ts FROM events WHERE project_id = %(project_id)s AND user_id = ANY(%(subjects)s)
        UNION ALL SELECT ts FROM events WHERE project_id = %(project_id)s AND app_user_id = ANY(%(subjects)s)
        UNION ALL SELECT ts FROM events WHERE project_id = %(project_id)s AND digests && %(subjects)s::text[]
    ) AS theirs
    """
)
_DAYS_BY_DIGEST: Final = sql.SQL(
    "SELECT DISTINCT ts::date::text FROM events WHERE project_id = %(project_id)s AND {theirs}"
)
_ERASE_EVENTS: Final = sql.SQL(
    """
    DELETE FROM events WHERE ts >= %(day)s::date AND ts < %(day)s::date + 1
        AND project_id = %(project_id)s AND received_at <= %(until)s AND {theirs}
    """
)
_ERASE_STATEMENTS: Final = sql.SQL(
    """
    DELETE FROM {table} WHERE project_id = %(project_id)s AND received_at <= %(until)s AND ({theirs}
        OR (app_id, user_kind, user_id) IN (
            SELECT app_id, user_kind, user_id FROM user_properties
            WHERE project_id = %(project_id)s AND {theirs}
        )
    )
    """
)


class Asked(msgspec.Struct, frozen=True):
    """An erasure that is not completed.

    `subjects` are ids and digests as rows have them, none where only the digests of those are known.
    """

    id: str
    organization_id: str
    project_id: str
    subjects: list[str]
    requested_at: datetime
    published_at: datetime | None


class Completed(msgspec.Struct, frozen=True):
    """What an erasure has erased, in rows."""

    organization_id: str
    project_id: str
    events_erased: int
    user_properties_erased: int
    consents_erased: int


class Claim(msgspec.Struct, frozen=True):
    """What would be refused if one of `subjects` is erased: the `number`-th of a batch, received at `received_at`."""

    number: int
    project_id: str
    received_at: str
    subjects: list[str]


async def keep_erasers_away(connection: Connection) -> None:
    """Let no erasure begin to delete until the transaction at hand ends; it has to be asked before what it writes."""
    await change(connection, "SELECT pg_advisory_xact_lock_shared(hashtext('erasures'))")


async def await_writers(connection: Connection) -> None:
    """Return once every transaction has ended that may write without knowing of the newest erasure."""
    await change(connection, "SELECT pg_advisory_xact_lock(hashtext('erasures'))")


async def latest_erasure(connection: Connection) -> datetime | None:
    """Return up to when anything received may concern somebody who is erased; None where nobody is."""
    async with connection.cursor() as cursor:
        await cursor.execute("SELECT max(received_until) FROM erased_subjects")
        row = await cursor.fetchone()
        return None if row is None else row[0]


async def refused(connection: Connection, claims: Sequence[Claim]) -> set[int]:
    """Return the numbers of those claims that concern somebody who is erased."""
    flat = [(each.number, each.project_id, each.received_at, subject) for each in claims for subject in each.subjects]
    columns = [list(column) for column in zip(*flat, strict=True)] or [[], [], [], []]
    async with connection.cursor() as cursor:
        await cursor.execute(
            """
            SELECT DISTINCT claim.number
            FROM unnest(%s::int[], %s::text[], %s::timestamptz[], %s::text[])
                AS claim (number, project_id, received_at, subject)
            JOIN erased_subjects AS erased USING (project_id, subject)
            WHERE claim.received_at <= erased.received_until
            """,
            columns,
        )
        return {int(number) for (number,) in await cursor.fetchall()}


async def open_erasures(connection: Connection) -> list[Asked]:
    """Return the erasures that are not completed, oldest first."""
    return await fetch_all(
        connection,
        Asked,
        """
        SELECT id, organization_id, project_id, subjects, requested_at, published_at FROM erasures
        WHERE completed_at IS NULL ORDER BY requested_at LIMIT 100
        """,
        {},
    )


async def hashed_subjects(connection: Connection, erasure_id: str) -> list[str]:
    """Return by what those are known whom an erasure erases."""
    async with connection.cursor() as cursor:
        await cursor.execute(
            "SELECT subject FROM erased_subjects WHERE erasure_id = %(id)s ORDER BY subject", {"id": erasure_id}
        )
        return [str(subject) for (subject,) in await cursor.fetchall()]


async def take_in(connection: Connection, erasure: Erasure) -> None:
    """Know an erasure that was told by its record, which one that was asked for here already is."""
    values = {**msgspec.structs.asdict(erasure), "subjects": list(erasure.subjects)}
    await change(
        connection,
        """
        INSERT INTO erasures (id, organization_id, project_id, subjects, requested_at, published_at)
        VALUES (%(id)s, %(organization_id)s, %(project_id)s, '{}', %(received_until)s, now())
        ON CONFLICT (id) DO NOTHING
        """,
        values,
    )
    await change(
        connection,
        """
        INSERT INTO erased_subjects (project_id, subject, erasure_id, received_until)
        SELECT %(project_id)s, subject, %(id)s, %(received_until)s FROM unnest(%(subjects)s::text[]) AS subject
        ON CONFLICT DO NOTHING
        """,
        values,
    )


async def days_of(connection: Connection, asked: Asked) -> list[str]:
    """Return the days, `YYYY-MM-DD` in UTC, of which somebody has events."""
    query = DAYS if asked.subjects else _DAYS_BY_DIGEST.format(theirs=_THEIRS_BY_DIGEST)
    async with connection.cursor() as cursor:
        await cursor.execute(query, _parameters(asked))
        return sorted(str(day) for (day,) in await cursor.fetchall())


async def erase_events(connection: Connection, asked: Asked, day: str) -> None:
    """Delete somebody's events of one day, and count them."""
    erased = await change(connection, _ERASE_EVENTS.format(theirs=_theirs(asked)), {**_parameters(asked), "day": day})
    await change(
        connection,
        "UPDATE erasures SET events_erased = events_erased + %(erased)s WHERE id = %(id)s",
        {"id": asked.id, "erased": erased},
    )


async def erase_statements(connection: Connection, asked: Asked) -> None:
    """Delete what is known of somebody beside events, and count it.

    Whoever has a digest among the properties is meant as a whole.
    """
    consents, properties = [
        await change(
            connection,
            _ERASE_STATEMENTS.format(table=sql.Identifier(table), theirs=_theirs(asked)),
            _parameters(asked),
        )
        for table in ("consents", "user_properties")
    ]
    await change(
        connection,
        """
        UPDATE erasures SET consents_erased = consents_erased + %(consents)s,
            user_properties_erased = user_properties_erased + %(properties)s
        WHERE id = %(id)s
        """,
        {"id": asked.id, "consents": consents, "properties": properties},
    )


async def mark_published(connection: Connection, erasure_id: str) -> None:
    """Write down that an erasure was told to all consumers."""
    await change(connection, "UPDATE erasures SET published_at = now() WHERE id = %(id)s", {"id": erasure_id})


async def complete(connection: Connection, erasure_id: str) -> Completed | None:
    """Forget the subjects and write down that all is done; None where somebody else was faster."""
    return await fetch_one(
        connection,
        Completed,
        """
        UPDATE erasures SET completed_at = now(), subjects = '{}' WHERE id = %(id)s AND completed_at IS NULL
        RETURNING organization_id, project_id, events_erased, user_properties_erased, consents_erased
        """,
        {"id": erasure_id},
    )


def _theirs(asked: Asked) -> sql.SQL:
    return _THEIRS if asked.subjects else _THEIRS_BY_DIGEST


def _parameters(asked: Asked) -> dict[str, object]:
    return {
        "id": asked.id,
        "project_id": asked.project_id,
        "subjects": asked.subjects,
        "until": asked.requested_at,
    }
