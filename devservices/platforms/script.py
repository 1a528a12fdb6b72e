"""Who is to be treated how, and for how many calls."""

import threading

import msgspec

from devservices.platforms.behaviour import AnyBehaviour, Ok, Order
from devservices.platforms.names import Platform

ORDERS_MAX = 10_000
_OK = Ok()


class Script:
    """The orders that are in force. All methods may be called from any thread.

    Orders for a number of calls come first, in the order in which they were given, so several make a sequence. Where
    none is left, the order without a number that was given last counts; where there is none either, the call is judged
    by the platform's rules alone.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted: list[Order] = []
        self._standing: list[Order] = []

    def add(
        self,
        behaviour: AnyBehaviour,
        *,
        platform: Platform | None = None,
        token: str | None = None,
        destination: str | None = None,
        calls: int | None = None,
    ) -> None:
        """Order a behaviour; see `Order`."""
        self.give(
            Order(behaviour=behaviour, platform=platform, token=token, destination=destination, calls=calls),
        )

    def give(self, order: Order) -> None:
        """Take an order. ValueError where there are `ORDERS_MAX` already."""
        with self._lock:
            if len(self._counted) + len(self._standing) >= ORDERS_MAX:
                raise ValueError(f"there are {ORDERS_MAX} orders already")
            (self._standing if order.calls is None else self._counted).append(order)

    def orders(self) -> list[Order]:
        """Return what is in force, in the order in which it is looked at; `calls` is what is left of them."""
        with self._lock:
            return [*self._counted, *reversed(self._standing)]

    def clear(self) -> None:
        """Take back all orders."""
        with self._lock:
            self._counted.clear()
            self._standing.clear()

    def next(self, platform: Platform, token: str, destination: str) -> AnyBehaviour:
        """Return what is to be done with this call, and use up one call of its order."""
        if not self._counted and not self._standing:
            return _OK
        with self._lock:
            for at, order in enumerate(self._counted):
                if order.concerns(platform, token, destination):
                    self._use(at, order)
                    return order.behaviour
            for order in reversed(self._standing):
                if order.concerns(platform, token, destination):
                    return order.behaviour
        return _OK

    def _use(self, at: int, order: Order) -> None:
        left = (order.calls or 1) - 1
        if left:
            self._counted[at] = msgspec.structs.replace(order, calls=left)
        else:
            del self._counted[at]
