"""Which tokens are known, and where each may send."""

import enum
import threading

from devservices.platforms.names import Platform


class Standing(enum.Enum):
    """What a platform makes of a sender."""

    KNOWN = enum.auto()
    UNKNOWN_TOKEN = enum.auto()
    UNKNOWN_DESTINATION = enum.auto()


class Access:
    """Any token may send to any destination, until a first token is admitted to the platform."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._admitted: dict[Platform, dict[str, frozenset[str]]] = {}

    def admit(self, platform: Platform, token: str, *destinations: str) -> None:
        """Let this token send to these destinations, or to any where none is named; others are unknown from now on."""
        with self._lock:
            known = self._admitted.setdefault(platform, {})
            known[token] = frozenset(destinations)

    def open(self) -> None:
        """Let any token send to any destination again."""
        with self._lock:
            self._admitted.clear()

    def standing(self, platform: Platform, token: str, destination: str) -> Standing:
        """Return what the platform makes of this sender; without a token nobody is known."""
        if not token:
            return Standing.UNKNOWN_TOKEN
        known = self._admitted.get(platform)
        if known is None:
            return Standing.KNOWN
        destinations = known.get(token)
        if destinations is None:
            return Standing.UNKNOWN_TOKEN
        return Standing.UNKNOWN_DESTINATION if destinations and destination not in destinations else Standing.KNOWN
