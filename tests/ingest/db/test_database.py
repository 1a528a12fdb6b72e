"""The way to the database: late work is given up and its connection comes back, and "it is away" is one error."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest

from devservices.ports import free_ports
from ingest.db.database import Connection, Database, DatabaseAway, connection_arguments, one_deadline
from tests.support.control import execute

DEADLINE_MS = 300
FOR_EVER_S = 60


async def one(connection: Connection) -> int:
    """Ask the database for a number."""
    cursor = await connection.execute("SELECT 1")
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def sleep(connection: Connection) -> None:
    """Keep the database busy for longer than anybody waits."""
    await connection.execute(f"SELECT pg_sleep({FOR_EVER_S})")


def with_pool(dsn: str, work: Callable[[Database], Awaitable[None]], deadline_ms: int = 3_000, size: int = 1) -> None:
    """Do something with a small pool."""

    async def run() -> None:
        database = Database(dsn, "test-pool", connections_max=size, deadline_ms=deadline_ms)
        await database.open()
        try:
            await work(database)
        finally:
            await database.close()

    asyncio.run(run())


def test_work_is_done_and_its_answer_returned(database: str) -> None:
    """Both ways of working return what the work returns."""

    async def work(pool: Database) -> None:
        assert await pool.run(one) == 1
        assert await pool.transact(one) == 1

    with_pool(database, work)


def test_a_transaction_is_whole_or_not_at_all(database: str) -> None:
    """What an exception ends is rolled back, and the exception arrives as it was."""
    execute(database, "CREATE TABLE t (n int)")

    async def insert(connection: Connection) -> None:
        await connection.execute("INSERT INTO t VALUES (1)")

    async def fail(connection: Connection) -> None:
        await insert(connection)
        raise KeyError("mine")

    async def work(pool: Database) -> None:
        with pytest.raises(KeyError, match="mine"):
            await pool.transact(fail)
        await pool.transact(insert)
        with pytest.raises(KeyError, match="mine"):
            await pool.run(fail)  # each statement on its own: the first one stays

    with_pool(database, work)

    assert execute(database, "SELECT count(*) FROM t") == [(2,)]


def test_late_work_is_given_up_and_its_connection_comes_back(database: str) -> None:
    """The only connection of a pool serves again after work that was too late, and the server works on nothing."""

    async def work(pool: Database) -> None:
        for ask in (pool.run, pool.transact):
            with pytest.raises(DatabaseAway):
                await ask(sleep)
            async with asyncio.timeout(10):
                while True:
                    try:
                        assert await ask(one) == 1
                        break
                    except DatabaseAway:
                        continue

    with_pool(database, work, DEADLINE_MS)
    busy = execute(
        database,
        "SELECT 1 FROM pg_stat_activity"
        " WHERE state = 'active' AND query LIKE '%%pg_sleep(60)%%' AND pid <> pg_backend_pid()",
    )

    assert busy == []


def test_waiting_for_a_connection_counts(database: str) -> None:
    """Who finds all connections taken is told so at the deadline too."""

    async def work(pool: Database) -> None:
        first = asyncio.create_task(pool.run(sleep))
        await asyncio.sleep(0)
        second = asyncio.create_task(pool.run(one))
        for each in (first, second):
            with pytest.raises(DatabaseAway):
                await each

    with_pool(database, work, DEADLINE_MS)


def test_a_caller_who_leaves_takes_his_work_along(database: str) -> None:
    """A call that is cancelled gives its connection back."""

    async def work(pool: Database) -> None:
        asked = asyncio.create_task(pool.run(sleep))
        await asyncio.sleep(0.2)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert await pool.run(one) == 1

    with_pool(database, work)


def test_several_pieces_of_work_may_share_one_deadline(database: str) -> None:
    """Inside the block what the first has used up the second lacks; time in between does not count, nor later work."""

    async def nap(connection: Connection) -> None:
        await connection.execute("SELECT pg_sleep(0.3)")

    async def work(pool: Database) -> None:
        with one_deadline(450):
            await pool.run(nap)
            await asyncio.sleep(0.3)
            assert await pool.run(one) == 1
            with pytest.raises(DatabaseAway):
                await pool.run(nap)
            with pytest.raises(DatabaseAway):
                await pool.run(one)
        await pool.run(nap)

    with_pool(database, work, size=4)


def test_who_works_beside_has_a_deadline_of_his_own(database: str) -> None:
    """The block counts for its own task alone."""

    async def used_up(pool: Database) -> None:
        with one_deadline(0), pytest.raises(DatabaseAway):
            await pool.run(one)

    async def work(pool: Database) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(used_up(pool))
            other = group.create_task(pool.run(one))
        assert other.result() == 1

    with_pool(database, work)


def test_nobody_on_the_port_is_away() -> None:
    """A server that is not there is away, at the deadline."""
    (port,) = free_ports(1)

    async def work(pool: Database) -> None:
        with pytest.raises(DatabaseAway):
            await pool.run(one)

    with_pool(f"postgresql://nobody@127.0.0.1:{port}/none", work, DEADLINE_MS)


@pytest.mark.parametrize(
    ("statement", "prepare"),
    [
        ("SELECT pg_terminate_backend(pg_backend_pid())", ""),
        ("CREATE TABLE t ()", "SET default_transaction_read_only = on"),
        ("SELECT pg_sleep(60)", "SET statement_timeout = 50"),
    ],
    ids=["cut off", "read only", "too slow for the server"],
)
def test_what_may_pass_is_away(database: str, statement: Any, prepare: Any) -> None:
    """A lost connection, a standby and a server that gives up are all "away", and the pool goes on."""

    async def fail(connection: Connection) -> None:
        if prepare:
            await connection.execute(prepare)
        await connection.execute(statement)

    async def work(pool: Database) -> None:
        with pytest.raises(DatabaseAway):
            await pool.run(fail)
        assert await pool.run(one) == 1

    with_pool(database, work)


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("SELECT * FROM nothing", psycopg.errors.UndefinedTable),
        ("SELECT 1/0", psycopg.errors.DivisionByZero),
        ("CREATE TABLE t (n int CHECK (n > 0)); INSERT INTO t VALUES (0)", psycopg.errors.CheckViolation),
    ],
)
def test_what_is_wrong_is_not_away(database: str, statement: Any, error: type[Exception]) -> None:
    """Errors of the work itself arrive as they are."""

    async def fail(connection: Connection) -> None:
        await connection.execute(statement)

    async def work(pool: Database) -> None:
        with pytest.raises(error):
            await pool.run(fail)

    with_pool(database, work)


def test_sessions_are_bounded_and_in_utc(database: str) -> None:
    """The server gives up by itself what nobody waits for, and tells times in UTC whatever its own zone is."""
    name = execute(database, "SELECT current_database()")[0][0]
    zone: Any = f"ALTER DATABASE {name} SET timezone = 'Asia/Tokyo'"
    execute(database, zone)

    async def look(connection: Connection) -> list[str]:
        names = ("statement_timeout", "idle_in_transaction_session_timeout", "timezone", "application_name")
        found = []
        for setting in names:
            row = await (await connection.execute("SELECT current_setting(%s)", (setting,))).fetchone()
            assert row is not None
            found.append(str(row[0]))
        return found

    async def work(pool: Database) -> None:
        assert await pool.run(look) == ["3s", "6s", "UTC", "test-pool"]

    with_pool(database, work)


def test_a_pool_closes_while_work_hangs(database: str) -> None:
    """The end waits for nobody, whether his work was given up or is under way."""

    async def run() -> None:
        pool = Database(database, "test-pool", connections_max=2, deadline_ms=DEADLINE_MS)
        await pool.open()
        with pytest.raises(DatabaseAway):
            await pool.run(sleep)
        under_way = asyncio.create_task(pool.run(sleep))
        await asyncio.sleep(0.1)
        async with asyncio.timeout(5):
            await pool.close()
        with pytest.raises(DatabaseAway):
            await under_way

    asyncio.run(run())


@pytest.mark.parametrize(
    ("dsn", "wanted"),
    [
        ("postgresql://u:p@one:5432/x", None),
        ("postgresql://u:p,w@one/x", None),
        ("postgresql://u:p@one:5432,two:5432/x", "read-write"),
        ("postgresql://one,two/x", "read-write"),
    ],
)
def test_of_several_hosts_the_one_is_taken_that_may_be_written_to(dsn: str, wanted: str | None) -> None:
    """What a standby says of a key may be old; a single server is read even while it is read only."""
    assert connection_arguments(dsn, "test").get("target_session_attrs") == wanted


def test_one_alone_at_a_time(database: str) -> None:
    """Of one lock one block is alone until its end, however it ends; another lock is another matter."""

    async def work(pool: Database) -> None:
        async with pool.alone(1) as first:
            async with pool.alone(1) as second, pool.alone(2) as other:
                assert (first, second, other) == (True, False, True)
            assert await pool.run(one) == 1
            async with pool.alone(1) as third:
                assert not third
        with pytest.raises(KeyError, match="mine"):
            async with pool.alone(2):
                raise KeyError("mine")
        while True:  # the server notices the end of a connection a moment later
            async with pool.alone(1) as one_again, pool.alone(2) as other_again:
                if one_again and other_again:
                    return

    with_pool(database, work)


def test_nobody_is_alone_in_a_database_that_is_away() -> None:
    """It is told as for any other work."""
    (port,) = free_ports(1)

    async def work(pool: Database) -> None:
        with pytest.raises(DatabaseAway):
            async with pool.alone(1):
                pass

    with_pool(f"postgresql://nobody@127.0.0.1:{port}/nothing", work)
