"""What a login finds in the database before anything is begun: the server's clock, and the rights of a group's work."""

import time
from typing import Final, LiteralString, NamedTuple

import psycopg

from ingest.db.database import DatabaseAway, connection_arguments

_MISSING: Final[LiteralString] = """
    WITH granted AS (
        SELECT c.oid, c.relname, NULL::smallint AS attnum, NULL::text AS attname, a.privilege_type
        FROM pg_class c CROSS JOIN aclexplode(c.relacl) a
        WHERE a.grantee = to_regrole(%(group)s) AND c.relkind IN ('r', 'p', 'v')
        UNION ALL
        SELECT c.oid, c.relname, t.attnum, t.attname::text, a.privilege_type
        FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid CROSS JOIN aclexplode(t.attacl) a
        WHERE a.grantee = to_regrole(%(group)s)
    )
    SELECT privilege_type || ' on ' || relname || coalesce('.' || attname, '') FROM granted
    WHERE CASE WHEN attnum IS NULL THEN NOT has_table_privilege(oid, privilege_type)
               ELSE NOT has_column_privilege(oid, attnum, privilege_type) END
    UNION ALL
    SELECT 'EXECUTE on ' || p.proname FROM pg_proc p CROSS JOIN aclexplode(p.proacl) a
    WHERE a.grantee = to_regrole(%(group)s) AND NOT has_function_privilege(p.oid, 'EXECUTE')
    ORDER BY 1
"""
"""What was granted to a group and the login may not do. Everybody may read who was granted what."""

_BESIDES: Final[LiteralString] = """
    SELECT rolsuper OR EXISTS (
        SELECT FROM pg_class c WHERE c.relname = 'organizations' AND pg_has_role(c.relowner, 'USAGE'))
    FROM pg_roles WHERE rolname = current_user
"""


class Inspection(NamedTuple):
    """What a login finds. `skew_ms` is how far the server's clock is ahead of this machine's, to half of `trip_ms`.

    `missing` are rights that were granted to the group and that the login has not; without a group of that name
    `has_group` is false. `is_owner` tells that the login may do anything with the schema.
    """

    skew_ms: int
    trip_ms: int
    has_group: bool
    missing: tuple[str, ...]
    is_owner: bool


def inspect(dsn: str, group: str) -> Inspection:
    """Look at the server, and at what the login may do of the work of `group`. Raises `DatabaseAway`."""
    try:
        with psycopg.connect(dsn, **connection_arguments(dsn, "ingest-check")) as connection:
            before = time.time_ns()
            server_ms = _one(connection, "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
            after = time.time_ns()
            has_group = bool(_one(connection, "SELECT to_regrole(%(group)s) IS NOT NULL", group))
            missing = [str(row[0]) for row in connection.execute(_MISSING, {"group": group})]
            is_owner = bool(_one(connection, _BESIDES))
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise DatabaseAway(type(error).__name__) from error
    here_ms = (before + after) // 2_000_000
    return Inspection(int(server_ms) - here_ms, (after - before) // 1_000_000, has_group, tuple(missing), is_owner)


def _one(connection: psycopg.Connection, query: LiteralString, group: str = "") -> int | bool:
    row = connection.execute(query, {"group": group}).fetchone()
    assert row is not None
    value: int | bool = row[0]
    return value
