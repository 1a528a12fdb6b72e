"""`python -m bench.reads`: what it takes to read one user's events among millions, and to find them for an erasure.

The rows are made in the database, spread evenly over days and users; the plan tells whether indexes alone answer.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, LiteralString

import click
import psycopg
from psycopg import sql

from bench.machine import machine
from devservices.postgres import PostgresServer
from ingest.db.migrate import migrate
from ingest.db.queries.erasing import DAYS
from ingest.db.queries.users import BEGINNING, EVENTS_OF_USER, PAGE_BYTES_MAX

PAGE_ROWS: Final = 100
REPEATS: Final = 20

# A user has every `users`-th event of each day; a tenth of the events hold an e-mail's digest.
_FILL: Final[LiteralString] = """
    INSERT INTO events (app_id, event_id, ts, project_id, organization_id, name, received_at, user_id, app_user_id,
        install_id, digests, platform, source, event, meta)
    SELECT 'app_demo', gen_random_uuid()::text, at, 'prj_demo', 'org_demo', 'purchase_success', at, who, who,
        'install-' || who, CASE WHEN n %% 10 = 0 THEN ARRAY[encode(sha256(who::bytea), 'hex')] END, 'ios', 'sdk',
        jsonb_build_object('event', 'purchase_success', 'timestamp', at, 'user_id', who, 'properties',
            jsonb_build_object('revenue', n, 'screen', repeat('x', 200))),
        jsonb_build_object('v', 1, 'app_id', 'app_demo', 'received_at', at)
    FROM generate_series(1, %(rows)s) AS n,
        LATERAL (SELECT current_date - %(day)s + n * interval '1 day' / (%(rows)s + 1) AS at,
            'user-' || (n + %(day)s * 7919) %% %(users)s AS who) AS made
"""
_SCANS: Final = ("Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Heap Scan")


@click.command()
@click.option("--rows", default=10_000_000, show_default=True, type=click.IntRange(1_000))
@click.option("--days", default=100, show_default=True, type=click.IntRange(1, 390))
@click.option("--users", default=100_000, show_default=True, type=click.IntRange(1))
def main(*, rows: int, days: int, users: int) -> None:
    """Fill a table, then read one user's events; print times and kinds of scans."""
    here = machine()
    click.echo(f"{here.cpu}, {here.cores} cores, PostgreSQL's default settings, commit {here.commit}")
    with tempfile.TemporaryDirectory() as folder, PostgresServer(Path(folder) / "postgres") as postgres:
        dsn = postgres.create_database("reads")
        migrate(dsn)
        with psycopg.connect(dsn, autocommit=True) as connection:
            _fill(connection, rows, days, users)
            click.echo("| query | rows found | scans | median ms | slowest ms |\n| --- | --- | --- | --- | --- |")
            for name, query, parameters in _queries(users):
                _measure(connection, name, query, parameters)


def _fill(connection: psycopg.Connection[Any], rows: int, days: int, users: int) -> None:
    for day in range(days):
        connection.execute("SELECT make_day_partition('events', current_date - %s)", [day])
        connection.execute(_FILL, {"rows": rows // days, "day": day, "users": users})
    connection.execute("VACUUM ANALYZE events")
    (found,) = connection.execute("SELECT count(*) FROM events").fetchone() or (0,)
    (size,) = connection.execute(
        "SELECT pg_size_pretty(sum(pg_total_relation_size(inhrelid))) FROM pg_inherits"
        " WHERE inhparent = 'events'::regclass"
    ).fetchone() or ("",)
    click.echo(f"{found} events of {users} users in {days} days, {size} with indexes\n")


def _queries(users: int) -> Iterator[tuple[str, LiteralString | sql.SQL, list[dict[str, Any]]]]:
    """Yield queries, each with the parameters of several users."""
    some = [f"user-{number * users // REPEATS}" for number in range(REPEATS)]
    page = {"project_id": "prj_demo", **BEGINNING._asdict(), "rows_max": PAGE_ROWS, "bytes_max": PAGE_BYTES_MAX}
    yield "a page of a user's events", EVENTS_OF_USER, [page | {"user_id": user} for user in some]
    yield "the days of which a user has events", DAYS, [{"project_id": "prj_demo", "subjects": [user]} for user in some]


def _measure(
    connection: psycopg.Connection[Any], name: str, query: LiteralString | sql.SQL, parameters: list[dict[str, Any]]
) -> None:
    seconds, found = [], 0
    for each in parameters:
        begun = time.perf_counter()
        found = max(found, len(connection.execute(query, each).fetchall()))
        seconds.append(time.perf_counter() - begun)
    explain = sql.SQL("EXPLAIN (FORMAT TEXT) ") + (query if isinstance(query, sql.SQL) else sql.SQL(query))
    plan = [line for (line,) in connection.execute(explain, parameters[0]).fetchall()]
    scans = {kind: sum(f"{kind} " in line and " on events" in line for line in plan) for kind in _SCANS}
    told = ", ".join(f"{count} x {kind}" for kind, count in scans.items() if count)
    seconds.sort()
    click.echo(f"| {name} | {found} | {told} | {seconds[len(seconds) // 2] * 1000:.1f} | {seconds[-1] * 1000:.1f} |")


if __name__ == "__main__":
    main()
