"""The way to PostgreSQL: a small pool, a deadline on everything, and one error for "it is away"."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextvars import ContextVar
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import psycopg
import structlog
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

Connection = psycopg.AsyncConnection[TupleRow]
T = TypeVar("T")

DEADLINE_MS: Final = 3_000
"""Longest wait for one piece of work, its connection included; work that may take longer waits for that no longer."""

VALUE_REFUSED: Final = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded)
"""What the database says of a value that it will never take."""

_CONNECT_S: Final = 3
_KEEPALIVES: Final = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 8_000}
_RECONNECT_S: Final = 0.5
"""Time after which the pool leaves a lost connection to the next caller, so that none waits for its growing pauses."""

_log = structlog.get_logger(__name__)


class _Patience:
    """What is left of a deadline that several pieces of work share, in seconds."""

    def __init__(self, left_s: float) -> None:
        self.left_s = left_s


_shared: Final[ContextVar[_Patience | None]] = ContextVar("shared", default=None)


@contextlib.contextmanager
def one_deadline(deadline_ms: int = DEADLINE_MS) -> Iterator[None]:
    """Let all work that this task does on the database in this block wait no longer than so much in total."""
    token = _shared.set(_Patience(deadline_ms / 1000))
    try:
        yield
    finally:
        _shared.reset(token)


class DatabaseAway(Exception):  # noqa: N818 - a state of the world, not a fault of ours
    """PostgreSQL cannot be reached, does not answer in time, or may not be written to now."""


def connection_arguments(dsn: str, name: str) -> dict[str, Any]:
    """Return what every connection of ours has in common; `name` is how the server's operator sees it.

    Of several hosts the one is taken that may be written to: what a standby says of a key may be old.
    """
    has_several_hosts = "," in urlsplit(dsn).netloc.rpartition("@")[2]
    return {
        **({"target_session_attrs": "read-write"} if has_several_hosts else {}),
        "autocommit": True,
        "application_name": name,
        "connect_timeout": _CONNECT_S,
        "ssl_min_protocol_version": "TLSv1.2",
        **_KEEPALIVES,
    }


def _session(deadline_ms: int) -> str:
    """Return the server's own bounds, so that nothing works on there for nobody."""
    return (
        f"-c timezone=UTC -c statement_timeout={deadline_ms} -c idle_in_transaction_session_timeout={2 * deadline_ms}"
    )


class Database:
    """A pool of connections as one process uses it; opening it waits for nothing.

    Work is a function of a connection. It is given up at the deadline: its connection then comes back to the pool by
    itself, or is replaced.
    """

    def __init__(self, dsn: str, name: str, *, connections_max: int = 4, deadline_ms: int = DEADLINE_MS) -> None:
        self._dsn = dsn
        self._arguments = {**connection_arguments(dsn, name), "options": _session(deadline_ms)}
        self._pool = AsyncConnectionPool(
            dsn,
            kwargs=self._arguments,
            min_size=1,
            max_size=connections_max,
            timeout=min(deadline_ms, DEADLINE_MS) / 1000,
            max_lifetime=1_800,
            reconnect_timeout=_RECONNECT_S,
            check=AsyncConnectionPool.check_connection,
            open=False,
        )
        self._deadline_s = deadline_ms / 1000
        self._abandoned: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Begin to connect in the background."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close all connections."""
        for task in self._abandoned:
            task.cancel()
        await self._pool.close(timeout=1)

    async def ping(self) -> None:
        """Return once it answers. Raises `DatabaseAway`."""
        await self.run(lambda connection: connection.execute("SELECT 1"))

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do `work`, each statement on its own. Raises `DatabaseAway`."""
        return await self._within(self._on_a_connection(work))

    async def transact(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do `work` in one transaction, which an exception rolls back. Raises `DatabaseAway`.

        A value that is too large for the database is no matter of its being away: it is raised as it is.

        At the deadline it is not known whether a transaction that was about to end has ended well.
        """

        async def whole(connection: Connection) -> T:
            async with connection.transaction():
                return await work(connection)

        return await self._within(self._on_a_connection(whole))

    @contextlib.asynccontextmanager
    async def alone(self, lock: int) -> AsyncIterator[bool]:
        """Yield whether nobody else on this database is in such a block of the same `lock`. Raises `DatabaseAway`.

        The lock lives and dies with a connection of its own; where that is lost on the way, somebody else may come in.
        """
        connecting = asyncio.ensure_future(psycopg.AsyncConnection.connect(self._dsn, **self._arguments))
        try:
            connection = await self._within(connecting)
        except BaseException:
            connecting.add_done_callback(_close_unused)  # it may have come about just when nobody waited any more
            raise
        try:
            cursor = await self._within(connection.execute("SELECT pg_try_advisory_lock(%s)", (lock,)))
            row = await cursor.fetchone()
            yield row is not None and bool(row[0])
        finally:
            await connection.close()

    async def _on_a_connection(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        async with self._pool.connection() as connection:
            return await work(connection)

    async def _within(self, work: Awaitable[T]) -> T:
        """Wait for `work` until the deadline; what is late is cancelled, and not waited for."""
        shared = _shared.get()
        limit_s = self._deadline_s if shared is None else max(0.0, min(self._deadline_s, shared.left_s))
        loop = asyncio.get_running_loop()
        begun = loop.time()
        task = asyncio.ensure_future(work)
        try:
            done, _ = await asyncio.wait({task}, timeout=limit_s)
        except asyncio.CancelledError:
            self._abandon(task)
            raise
        finally:
            if shared is not None:
                shared.left_s -= loop.time() - begun
        if not done:
            self._abandon(task)
            raise DatabaseAway("no answer in time")
        try:
            return task.result()
        except psycopg.errors.ProgramLimitExceeded:
            raise
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
            raise DatabaseAway(type(error).__name__) from error
        except psycopg.errors.ReadOnlySqlTransaction as error:  # a standby, in the middle of a failover
            raise DatabaseAway("read only") from error

    def _abandon(self, task: "asyncio.Future[Any]") -> None:
        assert isinstance(task, asyncio.Task)
        task.cancel()
        self._abandoned.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self._abandoned.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.debug("database_work_abandoned", error=task.exception())


def _close_unused(connecting: "asyncio.Future[Connection]") -> None:
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().pgconn.finish()
