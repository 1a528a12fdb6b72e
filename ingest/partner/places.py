"""How much partners may have at work at once: all together, and each key, so that none takes the places of others."""

from types import TracebackType
from typing import Final, Self

from ingest.edge.in_flight import InFlight, Slot

SHARE: Final = 4
"""A key may have one in so many of all places and bytes."""


class Places:
    """The places of all calls whose key is known, within the bounds of `everything`."""

    def __init__(self, everything: InFlight) -> None:
        self._everything = everything
        self._by_key: dict[str, InFlight] = {}

    def enter(self, key_id: str) -> "Place":
        """Take a place. Raises `Refusal` with `OVERLOADED` where the key, or all of them, have none left."""
        everything = self._everything
        own = self._by_key.setdefault(
            key_id, InFlight(requests_max=everything.requests_max // SHARE, bytes_max=everything.bytes_max // SHARE)
        )
        slot = own.enter()
        try:
            return Place(self, key_id, (slot, everything.enter()))
        except BaseException:
            slot.leave()
            self.forget(key_id)
            raise

    def forget(self, key_id: str) -> None:
        """Let go of what is known of a key that has nothing at work."""
        if self._by_key[key_id].requests == 0:
            del self._by_key[key_id]


class Place:
    """One call's place, left at the end of a `with`."""

    def __init__(self, places: Places, key_id: str, slots: tuple[Slot, Slot]) -> None:
        self._places = places
        self._key_id = key_id
        self._slots = slots

    def grow(self, size: int) -> None:
        """Count `size` more bytes that the call holds. Raises `Refusal` with `OVERLOADED` beyond a bound."""
        for slot in self._slots:
            slot.grow(size)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for slot in self._slots:
            slot.leave()
        self._places.forget(self._key_id)
