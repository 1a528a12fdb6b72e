"""Queries by which forwarding learns what users have said: whether they may be advertised to, and who they are."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import msgspec

from ingest.db.database import Connection
from ingest.db.rows import fetch_all


class UserKey(msgspec.Struct, frozen=True):
    """One id of a user: which of the SDK's ids it is, and what it says."""

    app_id: str
    user_kind: str
    user_id: str


class Choice(msgspec.Struct, frozen=True):
    """The stored choice about advertising under one id."""

    app_id: str
    user_kind: str
    user_id: str
    value: Any


class Property(msgspec.Struct, frozen=True):
    """A stored property under one id, and when it was said."""

    app_id: str
    user_kind: str
    user_id: str
    name: str
    value: Any
    set_at: datetime


async def advertising_choices(connection: Connection, users: Collection[UserKey]) -> list[Choice]:
    """Return the choices of these users, the newest last; of two at the same time the denial is last."""
    return await fetch_all(
        connection,
        Choice,
        """
        SELECT app_id, user_kind, user_id, value
        FROM json_to_recordset(%(users)s) AS wanted (app_id text, user_kind text, user_id text)
        JOIN consents USING (app_id, user_kind, user_id)
        WHERE name = 'advertising' ORDER BY set_at, received_at, value DESC
        """,
        {"users": _json(users)},
    )


async def properties_named(connection: Connection, users: Collection[UserKey], names: list[str]) -> list[Property]:
    """Return these properties of these users."""
    return await fetch_all(
        connection,
        Property,
        """
        SELECT app_id, user_kind, user_id, name, value, set_at
        FROM json_to_recordset(%(users)s) AS wanted (app_id text, user_kind text, user_id text)
        JOIN user_properties USING (app_id, user_kind, user_id)
        WHERE name = ANY(%(names)s)
        """,
        {"users": _json(users), "names": names},
    )


def _json(users: Collection[UserKey]) -> str:
    """Return users as one text; as arrays they would cost several times as much."""
    return msgspec.json.encode(list(users)).decode()
