"""Statements by which what is said of users becomes rows: the newest wins, and nobody who is erased comes back."""

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Final, Literal, LiteralString

import msgspec

from ingest.db.database import Connection

Table = Literal["user_properties", "consents"]

_COLUMNS: Final[LiteralString] = (
    "app_id, user_kind, user_id, name, value, set_at, received_at, project_id, organization_id, app_user_id, digests"
)
# A time stamp ahead of the receipt counts as the receipt: else one wrong clock would win for ever.
_NEW: Final[LiteralString] = """
    SELECT %(app_id)s, %(user_kind)s, %(user_id)s, %(name)s, %(value)s::jsonb,
        least(%(said_at)s::timestamptz, %(received_at)s::timestamptz), %(received_at)s::timestamptz,
        %(project_id)s, %(organization_id)s, %(app_user_id)s::text, %(digests)s::text[]
    WHERE NOT EXISTS (
        SELECT FROM erased_subjects
        WHERE project_id = %(project_id)s AND subject = ANY(%(subjects)s) AND received_until >= %(received_at)s
    )
"""
_NEWEST_WINS: Final[LiteralString] = """
    ON CONFLICT (app_id, user_kind, user_id, name) DO UPDATE
        SET value = excluded.value, set_at = excluded.set_at, received_at = excluded.received_at,
            app_user_id = excluded.app_user_id, digests = excluded.digests
        WHERE (excluded.set_at, excluded.received_at) > (held.set_at, held.received_at)
"""
_ONLY_ABSENT: Final[LiteralString] = "ON CONFLICT (app_id, user_kind, user_id, name) DO NOTHING"


class Statement(msgspec.Struct, frozen=True):
    """One property or choice of one user, as it was said.

    `value` is JSON, times are RFC 3339; `subjects` are by whom it would be refused once erased.
    """

    app_id: str
    user_kind: str
    user_id: str
    name: str
    value: str
    said_at: str
    received_at: str
    project_id: str
    organization_id: str
    app_user_id: str | None
    digests: list[str] | None
    subjects: list[str]
    is_only_for_absent: bool = False


async def keep_statements(connection: Connection, table: Table, statements: Sequence[Statement]) -> None:
    """Take statements in, one after the other, in the transaction at hand.

    Raises `psycopg.DataError` where one cannot be stored, which undoes the transaction.
    """
    into: LiteralString = "INSERT INTO " + table + " AS held (" + _COLUMNS + ")" + _NEW
    async with connection.cursor() as cursor:
        for is_only_for_absent, some in groupby(statements, key=attrgetter("is_only_for_absent")):
            rule = _ONLY_ABSENT if is_only_for_absent else _NEWEST_WINS
            await cursor.executemany(into + rule, [msgspec.structs.asdict(each) for each in some])
