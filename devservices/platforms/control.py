"""The HTTP surface for those who are no platform's client: what arrived, and what is to be done with what comes."""

import os
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec

from devservices.platforms.access import Access
from devservices.platforms.behaviour import Order
from devservices.platforms.ledger import Ledger, TakenEvent
from devservices.platforms.names import Platform
from devservices.platforms.page import page
from devservices.platforms.script import Script
from devservices.platforms.twin import Answer

_DONE: Final = Answer(HTTPStatus.OK, b"{}")


class Admission(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token that is known from now on, and where it may send (anywhere if nowhere is named)."""

    platform: Platform
    token: str
    destinations: tuple[str, ...] = ()


_orders = msgspec.json.Decoder(Order | list[Order])
_admission = msgspec.json.Decoder(Admission)


class Control:
    """Answers everything that is no call of a platform's client."""

    def __init__(self, script: Script, access: Access, ledger: Ledger) -> None:
        self._script = script
        self._access = access
        self._ledger = ledger
        self._get: dict[str, Callable[[Platform | None], object]] = {
            "/_events": lambda platform: {"events": [_shown(event) for event in ledger.events(platform)]},
            "/_calls": lambda platform: {"calls": ledger.calls(platform)},
            "/_violations": lambda platform: {"violations": ledger.violations(platform)},
            "/_repeats": lambda platform: {
                "repeats": [{**key._asdict(), "times": times} for key, times in ledger.repeats(platform).items()]
            },
            "/_totals": lambda _: ledger.totals(),
            "/_control": lambda _: {"orders": script.orders()},
            "/_health": lambda _: {"pid": os.getpid()},
        }

    def answer(self, method: str, path: str, query: Mapping[str, str], body: bytes) -> Answer:
        """Return the answer; whatever is unknown gets 404, what cannot be understood 400 with the reason."""
        try:
            match method, path:
                case "GET", "/":
                    return Answer(HTTPStatus.OK, page(self._ledger).encode(), content_type="text/plain; charset=utf-8")
                case "POST", "/_control":
                    given = _orders.decode(body)
                    for order in given if isinstance(given, list) else [given]:
                        self._script.give(order)
                case "DELETE", "/_control":
                    self._script.clear()
                case "POST", "/_access":
                    admission = _admission.decode(body)
                    self._access.admit(admission.platform, admission.token, *admission.destinations)
                case "DELETE", "/_access":
                    self._access.open()
                case "DELETE", "/_events":
                    self._ledger.forget()
                case "GET", known if known in self._get:
                    named = query.get("platform")
                    return _json(HTTPStatus.OK, self._get[known](None if named is None else Platform(named)))
                case _:
                    return _json(HTTPStatus.NOT_FOUND, {"error": "there is nothing here"})
        except (msgspec.DecodeError, ValueError) as error:
            return _json(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        return _DONE


def _shown(event: TakenEvent) -> dict[str, Any]:
    return {**msgspec.structs.asdict(event), "payload": msgspec.Raw(event.payload)}


def _json(status: int, content: object) -> Answer:
    return Answer(status, msgspec.json.encode(content))
