"""PostgreSQL as one process would find it: its schema, the rights of the login, and its clock."""

from collections.abc import Iterator
from typing import Final

import psycopg

from ingest.checks.finding import Finding, fault, ok, warning
from ingest.db.database import DatabaseAway
from ingest.db.inspect import Inspection, inspect
from ingest.db.migrate import pending

SKEW_MS_WARNED: Final = 1_000
SKEW_MS_MAX: Final = 60_000
"""Beyond it what is received looks older or newer than what is erased, kept or signed by that time."""


def database(dsn: str, group: str) -> Iterator[Finding]:
    """Tell whether the schema is up to date, the login has the rights of `group`, and the clocks agree."""
    try:
        found = inspect(dsn, group)
        yield _schema(dsn, group)
    except DatabaseAway:
        yield fault(
            "database",
            "the database in INGEST_POSTGRES_DSN cannot be reached",
            "look at host, password, network and whether it may be written to",
        )
        return
    yield from _rights(found, group)
    yield _clock(found)


def _schema(dsn: str, group: str) -> Finding:
    try:
        if pending(dsn):
            return fault("schema", "the schema of INGEST_POSTGRES_DSN is not up to date", "run `ingest migrate`")
    except psycopg.errors.InsufficientPrivilege:
        if group == "ingest_persist":  # has no need of it, so that was never granted
            return ok("schema", "whether the schema is up to date is told to the role of the edge alone")
        return fault(
            "schema",
            "the role in INGEST_POSTGRES_DSN may not read the schema's version",
            f"make it a member of {group}",
        )
    return ok("schema", "the schema of INGEST_POSTGRES_DSN is up to date")


def _rights(found: Inspection, group: str) -> Iterator[Finding]:
    if not found.has_group:
        yield fault("rights", f"there is no role {group}", "run `ingest migrate`")
    elif found.missing:
        lacking = ", ".join(found.missing)
        yield fault(
            "rights",
            f"the role in INGEST_POSTGRES_DSN lacks what this process does: {lacking}",
            f"make it a member of {group}",
        )
    elif found.is_owner:
        yield warning(
            "rights",
            "the role in INGEST_POSTGRES_DSN owns the schema, so that this process could do anything there",
            f"give it a login of its own, a member of {group}",
        )
    else:
        yield ok("rights", f"the role in INGEST_POSTGRES_DSN has the rights of {group}")


def _clock(found: Inspection) -> Finding:
    unsure_ms = found.trip_ms // 2 + 1
    told = f"the clock of the database is {abs(found.skew_ms)} ms {'ahead of' if found.skew_ms > 0 else 'behind'} ours"
    action = "set both by NTP"
    if abs(found.skew_ms) - unsure_ms > SKEW_MS_MAX:
        return fault("clock", told, action)
    if abs(found.skew_ms) - unsure_ms > SKEW_MS_WARNED:
        return warning("clock", told, action)
    return ok("clock", "the clocks of the database and of this machine agree")
