"""Log lines on their way to stdout: collected in memory, written by a thread of its own.

The caller never waits for a slow reader of stdout. What does not fit into the buffer meanwhile is dropped and counted.
"""

import os
import select
import threading
import weakref

FLUSH_INTERVAL_MS = 100
BUFFER_BYTES_MAX = 8 * 1024 * 1024
CLOSE_TIMEOUT_MS = 5_000


class LineWriter:
    """Writes lines to a file descriptor in the order given, at most `flush_interval_ms` late. For any thread.

    In a forked child it starts empty: lines that wait are the parent's to write.
    """

    def __init__(
        self, fd: int, *, flush_interval_ms: int = FLUSH_INTERVAL_MS, buffer_bytes_max: int = BUFFER_BYTES_MAX
    ) -> None:
        self.lines_dropped = 0
        self._fd = fd
        self._flush_interval_s = flush_interval_ms / 1_000
        self._buffer_bytes_max = buffer_bytes_max
        self.begin()
        _writers.add(self)

    def begin(self) -> None:
        """Start with nothing to write and no thread."""
        self._lock = threading.RLock()  # a signal's handler or a finalizer may log while its thread is in here
        self._lines: list[bytes] = []
        self._buffer_bytes = 0
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def write(self, line: bytes) -> None:
        """Take one line, its line feed included. Never waits; after `close` it writes through."""
        with self._lock:
            if self._buffer_bytes + len(line) > self._buffer_bytes_max:
                self.lines_dropped += 1
                return
            self._lines.append(line)
            self._buffer_bytes += len(line)
        if not self._woken.is_set() or self._stopping.is_set():
            self._wake()

    def close(self, timeout_ms: int = CLOSE_TIMEOUT_MS) -> None:
        """Write what waits; give up after `timeout_ms` when nobody reads stdout. A second call is a no-op."""
        self._stopping.set()
        self._woken.set()
        thread = self._thread
        if thread is None:
            self._flush()
        else:
            thread.join(timeout_ms / 1_000)

    def _wake(self) -> None:
        if self._stopping.is_set():
            if self._thread is None or not self._thread.is_alive():
                self._flush()
            return
        self._woken.set()
        with self._lock:
            if self._thread is not None:
                return
            self._thread = threading.Thread(target=self._run, name="log-lines", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._woken.wait()
            self._stopping.wait(self._flush_interval_s)
            self._woken.clear()  # before the flush: a line that comes during it wakes again
            self._flush()
        self._flush()

    def _flush(self) -> None:
        with self._lock:
            lines, self._lines = self._lines, []
        data = b"".join(lines)
        try:
            self._write_all(data)
        except OSError:
            self.lines_dropped += len(lines)
        with self._lock:
            self._buffer_bytes -= len(data)

    def _write_all(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                select.select([], [self._fd], [])


def _begin_in_child() -> None:
    for writer in _writers:
        writer.begin()


_writers: weakref.WeakSet[LineWriter] = weakref.WeakSet()
os.register_at_fork(after_in_child=_begin_in_child)
