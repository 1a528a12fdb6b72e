"""The twin of TikTok's Events API 2.0: how its calls are written and what it answers."""

import itertools
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from devservices.platforms import tiktok_rules
from devservices.platforms.hygiene import Finding
from devservices.platforms.names import Platform
from devservices.platforms.shapes import is_filled, is_text
from devservices.platforms.twin import Answer, Delivery, Refusal, Request, read_events

_PATH: Final = "/open_api/v1.3/event/track/"
_TAKEN: Final = 0
_PARTLY: Final = 20001
_NO_PERMISSION: Final = 40001
_INVALID: Final = 40002
_NO_SUCH: Final = 40007
_TOO_MANY: Final = 40100
_BAD_TOKEN: Final = 40105


class _Body(msgspec.Struct):
    """What a call holds; further members are none of our business."""

    event_source: Any = None
    event_source_id: Any = None
    data: msgspec.Raw = msgspec.Raw(b"[]")
    test_event_code: Any = None


_body = msgspec.json.Decoder(_Body)


class TikTokTwin:
    """Takes `POST /open_api/v1.3/event/track/`, with its slash; the token in `Access-Token`. Refusals are HTTP 200."""

    platform = Platform.TIKTOK

    def __init__(self) -> None:
        self._requests = itertools.count(1)

    def concerns(self, path: str) -> bool:
        """Tell whether a POST to this path is a call that brings events."""
        return path == _PATH

    def read(self, request: Request) -> Delivery:
        """Read a call as far as it can be read."""
        token = request.headers.get("access-token", "")
        try:
            body = _body.decode(request.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return Delivery(token, "", fault=Refusal(_INVALID, "body"))
        destination = body.event_source_id if is_text(body.event_source_id) else ""
        wrong = _wrong_envelope(body)
        if wrong is not None:
            return Delivery(token, destination, fault=Refusal(_INVALID, wrong))
        events = read_events(body.data)
        if events is None:
            return Delivery(token, destination, fault=Refusal(_INVALID, "data"))
        return Delivery(token, destination, events, body.event_source, body.test_event_code or "")

    def names(self, event: Mapping[str, Any]) -> tuple[str, str]:
        """Return the name and the id of an event, empty where it has none."""
        name, event_id = event.get("event"), event.get("event_id")
        return name if type(name) is str else "", event_id if type(event_id) is str else ""

    def refusal(self, event: Any, source: str, now_s: float) -> Refusal | None:
        """Return why TikTok refuses this event, and with it the call, if it does."""
        wrong = tiktok_rules.wrong_member(event, source, now_s)
        return None if wrong is None else Refusal(_INVALID, wrong)

    def findings(self, event: dict[str, Any], raw: bytes, now_s: float) -> list[Finding]:
        """Return what is wrong with an event whether or not TikTok would mind."""
        return list(dict.fromkeys(tiktok_rules.findings(event, raw, now_s)))

    def accepted(self, count: int, messages: Sequence[str] = ()) -> Answer:  # noqa: ARG002 - it does not tell how many
        """Return the answer to a call whose events have been taken, perhaps with warnings."""
        return self._answer(_PARTLY, "; ".join(messages)) if messages else self._answer(_TAKEN, "OK")

    def refused(self, refusal: Refusal) -> Answer:
        """Return the answer to a call with an event that is refused; it tells which one and what of it."""
        where = refusal.member if refusal.at is None else f"data.{refusal.at}.{refusal.member}"
        return self._answer(refusal.code, f"{where}: invalid parameter")._replace(reason=refusal.member)

    def refused_by_script(self, at: int, subcode: int | None) -> Answer:  # noqa: ARG002 - it has no subcodes
        """Return the answer to a call with an event that the script refuses."""
        return self.refused(Refusal(_INVALID, "script", at=at))

    def unknown_token(self) -> Answer:
        """Return the answer to a sender that is not known."""
        return self._answer(_BAD_TOKEN, "Access token is incorrect or has been revoked.")

    def unknown_destination(self) -> Answer:
        """Return the answer to a sender that may not send there, or if there is no such event source."""
        return self._answer(_NO_SUCH, "Event source does not exist.")

    def throttled(self, code: int) -> Answer:  # noqa: ARG002 - it has one code alone
        """Return the answer to a sender that sends too much."""
        return self._answer(_TOO_MANY, "Too many requests.")

    def dead_token(self, code: int, subcode: int | None) -> Answer:  # noqa: ARG002 - as above
        """Return the answer to a token that has expired."""
        return self._answer(_BAD_TOKEN, "Access token has expired.")

    def no_permission(self, code: int) -> Answer:  # noqa: ARG002 - as above
        """Return the answer to a token that may not do this."""
        return self._answer(_NO_PERMISSION, "No permission for this event source.")

    def coded(self, status: int | None, code: int, subcode: int | None, *, transient: bool) -> Answer:  # noqa: ARG002
        """Return the answer with any code."""
        return self._answer(code, "An error.", HTTPStatus.OK if status is None else status)

    def _answer(self, code: int, message: str, status: int = HTTPStatus.OK) -> Answer:
        told = {"code": code, "message": message, "request_id": f"{next(self._requests):032d}", "data": {}}
        return Answer(status, msgspec.json.encode(told), code)


def _wrong_envelope(body: _Body) -> str | None:
    if not is_text(body.event_source) or body.event_source not in tiktok_rules.SOURCES:
        return "event_source"
    if not is_filled(body.event_source_id):
        return "event_source_id"
    if body.test_event_code is not None and not is_text(body.test_event_code):
        return "test_event_code"
    return None
