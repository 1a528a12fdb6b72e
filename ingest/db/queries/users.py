"""Queries by which all that is kept of one user is read back."""

from typing import Final, LiteralString, NamedTuple

from ingest.db.database import Connection
from ingest.db.rows import UserEvent, UserStatement, fetch_all

STATEMENTS_MAX: Final = 1_000
"""Properties, and choices, that are read of one user: the newest."""

PAGE_BYTES_MAX: Final = 1024 * 1024
"""JSON on one page of events, unless its first event alone has more."""


class Place(NamedTuple):
    """A place in the order of events: behind this one. `ts` is as PostgreSQL writes it."""

    ts: str
    app_id: str
    event_id: str


BEGINNING: Final = Place("infinity", "", "")

# Of the two bounds on `ts` the first one leaves out partitions, and the second one is exact.
EVENTS_OF_USER: Final[LiteralString] = """
    WITH found AS (
        SELECT DISTINCT ON (ts, app_id, event_id) * FROM (
            (SELECT ts, app_id, event_id, name, received_at, event, meta FROM events
                WHERE project_id = %(project_id)s AND user_id = %(user_id)s AND ts <= %(ts)s::timestamptz
                    AND (ts, app_id, event_id) < (%(ts)s::timestamptz, %(app_id)s, %(event_id)s)
                ORDER BY ts DESC, app_id DESC, event_id DESC LIMIT %(rows_max)s)
            UNION ALL
            (SELECT ts, app_id, event_id, name, received_at, event, meta FROM events
                WHERE project_id = %(project_id)s AND app_user_id = %(user_id)s AND ts <= %(ts)s::timestamptz
                    AND (ts, app_id, event_id) < (%(ts)s::timestamptz, %(app_id)s, %(event_id)s)
                ORDER BY ts DESC, app_id DESC, event_id DESC LIMIT %(rows_max)s)
        ) AS by_either_id
        ORDER BY ts DESC, app_id DESC, event_id DESC LIMIT %(rows_max)s
    ), texts AS (
        SELECT ts, app_id, event_id, name, received_at, event->>'timestamp' AS occurred_at, event::text, meta::text
        FROM found
    ), sized AS (
        SELECT *, count(*) OVER () AS candidates, row_number() OVER newest_first AS place,
            sum(octet_length(event) + octet_length(meta)) OVER newest_first AS bytes_up_to
        FROM texts WINDOW newest_first AS (ORDER BY ts DESC, app_id DESC, event_id DESC)
    )
    SELECT app_id, event_id, ts::text, name, coalesce(occurred_at, ts::text) AS occurred_at, received_at, event, meta,
        candidates
    FROM sized WHERE place = 1 OR bytes_up_to <= %(bytes_max)s ORDER BY place
"""
"""Two walks along two indexes, each as long as a page; what both find counts once. Public for a look at its plan."""


async def list_user_events(
    connection: Connection,
    project_id: str,
    user_id: str,
    *,
    behind: Place = BEGINNING,
    rows_max: int,
    bytes_max: int = PAGE_BYTES_MAX,
) -> list[UserEvent]:
    """Return events whose `user_id` or `app_user_id` this is, newest first, from behind a place.

    The page is shorter than `rows_max` where its JSON would be larger than `bytes_max`; `candidates` tells so.
    """
    return await fetch_all(
        connection,
        UserEvent,
        EVENTS_OF_USER,
        {
            "project_id": project_id,
            "user_id": user_id,
            **behind._asdict(),
            "rows_max": rows_max,
            "bytes_max": bytes_max,
        },
    )


async def list_user_properties(connection: Connection, project_id: str, user_id: str) -> list[UserStatement]:
    """Return the properties of a user, newest first, whichever of the SDK's ids they belong to."""
    return await _statements(connection, _PROPERTIES, project_id, user_id)


async def list_consents(connection: Connection, project_id: str, user_id: str) -> list[UserStatement]:
    """Return the choices of a user, newest first, whichever of the SDK's ids they belong to."""
    return await _statements(connection, _CONSENTS, project_id, user_id)


_KEPT: Final[LiteralString] = """
    WHERE project_id = %(project_id)s AND (user_id = %(user_id)s OR app_user_id = %(user_id)s)
    ORDER BY set_at DESC, app_id, user_kind, name LIMIT %(rows_max)s
"""
_STATEMENT: Final[LiteralString] = "SELECT app_id, user_kind, name, value::text, set_at FROM "
_PROPERTIES: Final[LiteralString] = _STATEMENT + "user_properties" + _KEPT
_CONSENTS: Final[LiteralString] = _STATEMENT + "consents" + _KEPT


async def _statements(
    connection: Connection, query: LiteralString, project_id: str, user_id: str
) -> list[UserStatement]:
    return await fetch_all(
        connection,
        UserStatement,
        query,
        {"project_id": project_id, "user_id": user_id, "rows_max": STATEMENTS_MAX},
    )
