"""The one thread that writes the local log: it takes what waits, stores it with one sync, and tells who waited.

While one commit is being synced the next one fills, so the number of syncs follows the disk and not the callers. The
thread lives until it is told to stop: whatever goes wrong is reported to everybody who waits, and the files are opened
afresh before the next write, or each second while nothing is written.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Final, NamedTuple

import structlog

from ingest.clock import Clock
from ingest.transport.contract import ConfigurationError, Unavailable
from ingest.transport.log_cut import Cut
from ingest.transport.log_erasure import Rewrite
from ingest.transport.log_format import Batch, Damage
from ingest.transport.log_store import Expired, LogFull, LogStore

COMMIT_BYTES_MAX: Final = 8 * 2**20
"""Bytes of records from which a commit takes no further batch; a chunk is read and opened as a whole."""

IDLE_MS: Final = 1_000
"""Pause after which a thread without work looks after the files."""

RETENTION_INTERVAL_MS: Final = 60_000

_log = structlog.get_logger(__name__)


class Append(NamedTuple):
    """A batch that waits to be stored under `topic`; `waiter` belongs to the event loop and is never touched here."""

    topic: str
    batch: Batch
    waiter: asyncio.Future[None]


class Delete(NamedTuple):
    """An order to delete all chunks of `topic` within `bound`; `done` gets the number of records."""

    topic: str
    expired: Expired
    bound: int
    done: Future[int]
    records_so_far: int = 0


class SetAside(NamedTuple):
    """An order to take `damage` out of the way of readers; `done` follows once it is remembered.

    With `replace` the database itself is damaged, and is replaced by all of it that can be read.
    """

    damage: Damage
    replace: bool
    done: Future[int]


class Replace(NamedTuple):
    """An order to put chunks in the place of what they were; `done` gets how many records went."""

    rewrites: Sequence[Rewrite]
    done: Future[int]


class Shorten(NamedTuple):
    """An order to put what is left of a chunk in its place; `done` gets how many records went."""

    cut: Cut
    done: Future[int]


class Overwrite(NamedTuple):
    """An order to empty the WAL, so that what was replaced does not live on in it; `done` gets 1 if that was done."""

    done: Future[int]


class Stop(NamedTuple):
    """The last order: everything before it is carried out, then the files are closed."""


Order = Append | Delete | SetAside | Replace | Shorten | Overwrite | Stop
Inbox = queue.SimpleQueue[Order]
Settle = Callable[[Sequence[Append], Unavailable | None], None]
"""Told once for every batch, in the order of the inbox, from the writer's thread."""


class LogWriter:
    """Carries out the orders of `inbox` one after the other on a thread of its own."""

    def __init__(
        self, store: LogStore, inbox: Inbox, settle: Settle, *, clock: Clock, retention_ms: Mapping[str, int]
    ) -> None:
        self._store = store
        self._inbox = inbox
        self._settle = settle
        self._clock = clock
        self._retention_ms = retention_ms
        self._retention_due_ms = clock.monotonic_ms()
        self._truncation_due = False
        self._thread = threading.Thread(target=self._run, name="local-log-writer", daemon=True)
        self.opened: Future[None] = Future()
        """Done when the files were opened or the disk was found not to work; `ConfigurationError` ends the thread."""
        self.stopped: Future[None] = Future()
        """Done when the files are closed and nothing is touched any more."""
        self.fault = ""
        """Why nothing can be stored at present; empty when it can."""

    def start(self) -> None:
        """Open the files and begin to work."""
        self._thread.start()

    def _run(self) -> None:
        try:
            if self._begin():
                self._work()
        finally:
            self._store.close()
            self._turn_away_late_orders()
            self.stopped.set_result(None)

    def _begin(self) -> bool:
        try:
            self._store.open()
        except ConfigurationError as error:
            self.opened.set_exception(error)
            return False
        except Exception as error:  # noqa: BLE001 - a disk that does not work now may work later
            self._note(error)
        self._order_retention_if_due()
        self.opened.set_result(None)
        return True

    def _work(self) -> None:
        while True:
            try:
                order = self._inbox.get(timeout=IDLE_MS / 1000)
            except queue.Empty:
                self._attempt(self._truncate_if_due)
                self._order_retention_if_due()
                continue
            appends, other = self._take_waiting(order)
            if appends:
                self._append(appends)
            match other:
                case Delete():
                    self._delete(other)
                case SetAside():
                    self._set_aside(other)
                case Replace():
                    self._rewrite(partial(self._store.rewrite, other.rewrites), other.done)
                case Shorten():
                    self._rewrite(partial(self._store.cut, other.cut), other.done)
                case Overwrite():
                    self._overwrite(other)
                case Stop():
                    self._attempt(lambda: self._store.checkpoint(truncate=True))
                    return
            self._order_retention_if_due()

    def _take_waiting(self, order: Order) -> tuple[list[Append], Order | None]:
        """Take `order` and all batches that wait behind it, up to the first other order or a full commit."""
        appends: list[Append] = []
        bytes_taken = 0
        while isinstance(order, Append):
            appends.append(order)
            bytes_taken += len(order.batch.records)
            if bytes_taken >= COMMIT_BYTES_MAX:
                return appends, None
            try:
                order = self._inbox.get_nowait()
            except queue.Empty:
                return appends, None
        return appends, order

    def _append(self, appends: Sequence[Append]) -> None:
        by_topic: dict[str, list[Batch]] = {}
        for topic, batch, _ in appends:
            by_topic.setdefault(topic, []).append(batch)
        if self._attempt(lambda: self._store.append(by_topic)):
            self.fault = ""
            self._settle(appends, None)
            self._attempt(self._store.checkpoint)
        else:
            self._settle(appends, Unavailable(self.fault))

    def _delete(self, order: Delete) -> None:
        """Delete a first few chunks and queue the rest behind what waits, so that publishes are not held up."""
        records = 0

        def delete() -> None:
            nonlocal records
            records = self._store.delete(order.topic, order.expired, order.bound)

        if not self._attempt(delete):
            _finish(order.done, Unavailable(self.fault))
        elif records:
            self.fault = ""  # a full log has room again
            self._inbox.put(order._replace(records_so_far=order.records_so_far + records))
        else:
            self._truncation_due |= order.records_so_far > 0
            self._attempt(self._truncate_if_due)
            _finish(order.done, order.records_so_far)

    def _set_aside(self, order: SetAside) -> None:
        step = self._store.replace if order.replace else lambda: self._store.set_aside(order.damage)
        if self._attempt(step):
            _finish(order.done, order.damage.record_count)
        else:
            _finish(order.done, Unavailable(self.fault))

    def _rewrite(self, step: Callable[[], int], done: Future[int]) -> None:
        """Replace chunks; `step` returns how many records went."""
        records = 0

        def rewrite() -> None:
            nonlocal records
            records = step()

        worked = self._attempt(rewrite)
        self._truncation_due |= worked
        _finish(done, records if worked else Unavailable(self.fault))

    def _overwrite(self, order: Overwrite) -> None:
        done = self._attempt(self._truncate_if_due)
        _finish(order.done, int(not self._truncation_due) if done else Unavailable(self.fault))

    def _truncate_if_due(self) -> None:
        """Empty the WAL after a deletion: old bytes must not live on in it."""
        if self._truncation_due:
            self._truncation_due = not self._store.checkpoint(truncate=True)

    def _order_retention_if_due(self) -> None:
        if (now_ms := self._clock.monotonic_ms()) < self._retention_due_ms:
            return
        self._retention_due_ms = now_ms + RETENTION_INTERVAL_MS
        for topic, keep_ms in self._retention_ms.items():
            self._inbox.put(Delete(topic, Expired.OLDER_THAN_MS, self._clock.now_ms() - keep_ms, Future()))

    def _attempt(self, step: Callable[[], object]) -> bool:
        """Carry out `step` on open files, opening them first if need be; tell whether all of it worked."""
        try:
            if not self._store.is_open:
                self._store.open()
                self.fault = ""
            step()
        except Exception as error:  # noqa: BLE001 - a thread that dies would leave everybody waiting
            self._note(error)
            return False
        return True

    def _note(self, error: Exception) -> None:
        fault = _reason(error)
        if fault != self.fault:  # once, not for each commit that fails alike
            _log.error("log_unavailable", reason=fault)
        self.fault = fault

    def _turn_away_late_orders(self) -> None:
        while not self._inbox.empty():
            match self._inbox.get_nowait():
                case Append() as append:
                    self._settle([append], Unavailable("the log is closed"))
                case Delete() as order:
                    _finish(order.done, Unavailable("the log was closed before all was deleted"))
                case SetAside() | Replace() | Shorten() | Overwrite() as order:
                    _finish(order.done, Unavailable("the log is closed"))


def _finish(done: Future[int], result: int | Unavailable) -> None:
    if not done.set_running_or_notify_cancel():
        return
    if isinstance(result, int):
        done.set_result(result)
    else:
        done.set_exception(result)


def _reason(error: Exception) -> str:
    match error:
        case LogFull() | ConfigurationError():
            return str(error)
        case sqlite3.Error() | OSError():
            return f"{type(error).__name__}: {error}"
        case _:
            return type(error).__name__
