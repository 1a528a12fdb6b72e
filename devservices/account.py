"""The unprivileged account as which root starts a server that refuses to run as root."""

import contextlib
import os
import pwd
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self

_NAME = "nobody"
_OVERFLOW_ID = 65_534  # what the kernel itself takes for nobody


class Account(NamedTuple):
    """A user id and its primary group id, without supplementary groups."""

    uid: int
    gid: int

    @classmethod
    def unprivileged(cls) -> Self | None:
        """Return the account to change to, or None where this process is not root and has no need to."""
        if os.geteuid() != 0:
            return None
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(_NAME)
            return cls(entry.pw_uid, entry.pw_gid)
        return cls(_OVERFLOW_ID, _OVERFLOW_ID)


@contextlib.contextmanager
def within_reach(account: Account | None, *paths: Path) -> Iterator[tuple[Sequence[str], Sequence[int]]]:
    """Yield names by which a program of the `account` finds its own `paths`, and descriptors that it must inherit.

    A private folder above them, as root's home or a test's, would keep that program out. An open descriptor leads past
    it: the kernel follows the link under /proc without a look at the folders above.
    """
    if account is None or sys.platform != "linux":
        yield [str(path) for path in paths], []
        return
    with contextlib.ExitStack() as opened:
        numbers = []
        for path in paths:
            numbers.append(os.open(path, os.O_RDONLY))
            opened.callback(os.close, numbers[-1])
        yield [f"/proc/self/fd/{number}" for number in numbers], numbers
