"""Who is erased, for those that hold records of their own: what is new, and once more what is recent."""

from typing import Final, LiteralString

import msgspec

from ingest.db.database import Connection
from ingest.db.rows import fetch_all

RECENT_MINUTES: Final = 5
"""A transaction takes its numbers before its rows can be seen; it lasts less than this."""

# Times are rounded up, so that what was received within the millisecond is covered.
_SELECT: Final[LiteralString] = """
    SELECT number, project_id, subject,
           to_char(date_trunc('milliseconds', received_until + interval '999 microseconds') AT TIME ZONE 'UTC',
                   'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS received_until
    FROM erased_subjects WHERE number > %(after)s
"""
_RECENT: Final[LiteralString] = """
    AND number <= %(up_to)s AND received_until > now() - make_interval(mins => %(minutes)s)
"""
_PAGE: Final[LiteralString] = " ORDER BY number LIMIT %(limit)s"


class ErasedSubject(msgspec.Struct, frozen=True):
    """One row: `subject` as `ingest.erasure.subject_of` tells it, `received_until` as RFC 3339 in UTC with ms."""

    number: int
    project_id: str
    subject: str
    received_until: str


async def erased_after(connection: Connection, number: int, limit: int) -> list[ErasedSubject]:
    """Return the first rows with a higher number, in its order. A lower one may still become visible later."""
    return await fetch_all(connection, ErasedSubject, _SELECT + _PAGE, {"after": number, "limit": limit})


async def erased_lately(connection: Connection, after: int, up_to: int, limit: int) -> list[ErasedSubject]:
    """Return the first rows with a number above `after` and not above `up_to` that were written in the last minutes."""
    parameters = {"after": after, "up_to": up_to, "minutes": RECENT_MINUTES, "limit": limit}
    return await fetch_all(connection, ErasedSubject, _SELECT + _RECENT + _PAGE, parameters)
