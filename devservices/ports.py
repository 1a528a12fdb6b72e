"""Free TCP ports of 127.0.0.1."""

import contextlib
import random
import socket
from pathlib import Path

HOST = "127.0.0.1"
_LOWEST = 20_000
_EPHEMERAL_FIRST_DEFAULT = 32_768
_ATTEMPTS_MAX = 1_000


def free_ports(count: int) -> tuple[int, ...]:
    """Return `count` different ports on which nothing listens at this moment.

    They lie below the range from which the system takes the ports of outgoing connections. So no such connection can
    slip in before the server listens, nor while a killed server is down; a client that keeps dialling the dead port
    cannot end up connected to itself either. Another server still can: callers retry when the bind fails.
    """
    candidates = range(_LOWEST, _ephemeral_first())
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        for _ in range(_ATTEMPTS_MAX):
            if len(ports) == count:
                return tuple(ports)
            # A range that leaves no room falls back to what the system hands out itself.
            port = random.choice(candidates) if len(candidates) > count else 0  # noqa: S311 - picks a port, no secret
            listener = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                listener.bind((HOST, port))
                ports.append(int(listener.getsockname()[1]))
    raise OSError(f"no {count} free ports on {HOST} in {_ATTEMPTS_MAX} attempts")


def _ephemeral_first() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return _EPHEMERAL_FIRST_DEFAULT
