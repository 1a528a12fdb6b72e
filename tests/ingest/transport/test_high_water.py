import errno
from pathlib import Path

import pytest

from ingest.transport.high_water import SLOT_BYTES, HighWaterMark


def written(path: Path, states: int) -> None:
    """Write the states 1, 2, … one after the other."""
    mark = HighWaterMark(path)
    for state in range(1, states + 1):
        mark.write({"events": state})
    mark.close()


def reread(path: Path) -> dict[str, int]:
    """Open the file afresh and return what it says."""
    mark = HighWaterMark(path)
    mark.close()
    return dict(mark.offsets)


@pytest.mark.parametrize("states", [1, 2, 3])
def test_the_last_state_is_remembered(tmp_path: Path, states: int) -> None:
    """A new reader finds the newest state, whichever slot holds it."""
    written(tmp_path / "mark", states)
    assert reread(tmp_path / "mark") == {"events": states}
    assert (tmp_path / "mark").stat().st_size == 2 * SLOT_BYTES


def test_a_new_file_says_nothing(tmp_path: Path) -> None:
    """Before the first write there is no state."""
    mark = HighWaterMark(tmp_path / "mark")
    assert not mark.readable
    assert mark.offsets == {}
    mark.close()
    mark.close()


@pytest.mark.parametrize("torn_at", [0, 1, 31, 32, 40, 44, 50])
@pytest.mark.parametrize("states", [2, 3])
def test_a_torn_write_leaves_the_state_before_it(tmp_path: Path, states: int, torn_at: int) -> None:
    """A slot of which only a first part was written is ignored; the other one counts, and the next write is good."""
    path = tmp_path / "mark"
    mark = HighWaterMark(path)
    for state in range(1, states + 1):
        before = path.read_bytes()
        mark.write({"events": state})
    mark.close()
    after = bytearray(path.read_bytes())
    newest = states % 2 * SLOT_BYTES
    after[newest + torn_at : newest + SLOT_BYTES] = before[newest + torn_at : newest + SLOT_BYTES]
    path.write_bytes(after)
    assert reread(path) == {"events": states - 1}
    mark = HighWaterMark(path)
    mark.write({"events": 99})
    mark.close()
    assert reread(path) == {"events": 99}


def test_two_torn_slots_are_noticed(tmp_path: Path) -> None:
    """With no good slot left the mark says so instead of guessing."""
    written(tmp_path / "mark", 2)
    (tmp_path / "mark").write_bytes(b"\xff" * 2 * SLOT_BYTES)
    mark = HighWaterMark(tmp_path / "mark")
    assert not mark.readable
    mark.close()


def test_a_failed_sync_is_not_believed(tmp_path: Path) -> None:
    """After an I/O error the mark says what it said before, and the next write spoils nothing good."""

    def broken(_: int) -> None:
        raise OSError(errno.EIO, "I/O error")

    written(tmp_path / "mark", 2)
    mark = HighWaterMark(tmp_path / "mark", broken)
    with pytest.raises(OSError, match="I/O error"):
        mark.write({"events": 3})
    assert mark.offsets == {"events": 2}
    mark.close()
