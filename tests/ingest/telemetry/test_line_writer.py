"""The writer of log lines: never in the way, and nothing torn or silently lost."""

import os
import threading

from ingest.telemetry.line_writer import LineWriter


def test_lines_wait_for_a_slow_reader_and_none_is_torn() -> None:
    """A full pipe holds up no caller: what fits into the buffer comes out whole and in order, the rest is counted."""
    read, write = os.pipe()
    writer = LineWriter(write, flush_interval_ms=0, buffer_bytes_max=400_000)
    lines = [b"%06d %b\n" % (number, b"x" * 992) for number in range(1_000)]
    for line in lines:
        writer.write(line)
    dropped = writer.lines_dropped
    assert dropped > 0

    def close() -> None:
        writer.close()
        os.close(write)

    closing = threading.Thread(target=close)
    closing.start()
    with os.fdopen(read, "rb") as reader:
        received = reader.read().splitlines(keepends=True)
    closing.join()
    assert len(received) + dropped == len(lines)
    assert received == sorted(received)
    assert set(received) <= set(lines)


def test_a_reader_that_is_gone_costs_lines_only() -> None:
    """Where stdout was closed, lines are counted as dropped and nobody is disturbed."""
    read, write = os.pipe()
    os.close(read)
    writer = LineWriter(write)
    writer.write(b"a\n")
    writer.close()
    writer.write(b"b\n")
    os.close(write)
    assert writer.lines_dropped == 2


def test_writing_after_the_close_goes_through() -> None:
    """A line after the close is written at once, and one before it is written by it."""
    read, write = os.pipe()
    writer = LineWriter(write, flush_interval_ms=60_000)
    writer.write(b"before\n")
    writer.close()
    assert os.read(read, 100) == b"before\n"
    writer.write(b"after\n")
    assert os.read(read, 100) == b"after\n"
    os.close(read)
    os.close(write)


def test_a_nonblocking_stdout_is_waited_for() -> None:
    """Where somebody made stdout non-blocking, the thread waits for room and loses nothing."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    writer = LineWriter(write, flush_interval_ms=0)
    data = b"x" * 300_000 + b"\n"
    writer.write(data)
    received = b""
    while not received.endswith(b"\n"):
        received += os.read(read, 65_536)
    writer.close()
    assert received == data
    assert writer.lines_dropped == 0
    os.close(read)
    os.close(write)
