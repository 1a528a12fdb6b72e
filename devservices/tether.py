"""Become a program that dies with its parent: `tether.py PARENT_PID IDENTITY PROGRAM [ARGUMENT…]`.

IDENTITY is `UID:GID` of the account as which the program is to run, or `-` to stay who this is.

The kernel is asked to send SIGKILL to this process when the thread that started it ends, however it ends; the request
outlives `exec`, so the program itself needs to know nothing of it and keeps this process id. Linux only: elsewhere the
program is run without the tether.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent_pid: int, identity: str, command: list[str]) -> None:
    """Tie this process to `parent_pid`, take on `identity`, and replace it by `command`."""
    if identity != "-":  # first, because the kernel forgets the tether when a process changes its identity
        uid, gid = (int(number) for number in identity.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != parent_pid:  # it died before the request was made
            sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - the caller's program is what this is for


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
