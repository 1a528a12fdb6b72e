"""The twin of Meta's Conversions API: how its calls are written and what it answers."""

import itertools
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from devservices.platforms import meta_rules
from devservices.platforms.hygiene import Finding
from devservices.platforms.names import Platform
from devservices.platforms.shapes import is_text
from devservices.platforms.twin import Answer, Delivery, Refusal, Request, read_events

_PATH = re.compile(r"/v\d{1,3}\.\d{1,2}/([^/]{1,100})/events")
_BEARER: Final = "bearer "


class _Body(msgspec.Struct):
    """What a call holds; further members are none of our business."""

    data: msgspec.Raw = msgspec.Raw(b"[]")
    access_token: Any = None
    test_event_code: Any = None


_body = msgspec.json.Decoder(_Body)


class MetaTwin:
    """Takes `POST /v26.0/{dataset}/events`, of any version; a token in the header, the query or the body."""

    platform = Platform.META

    def __init__(self) -> None:
        self._traces = itertools.count(1)

    def concerns(self, path: str) -> bool:
        """Tell whether a POST to this path is a call that brings events."""
        return _PATH.fullmatch(path) is not None

    def read(self, request: Request) -> Delivery:
        """Read a call as far as it can be read."""
        found = _PATH.fullmatch(request.path)
        destination = found[1] if found else ""
        header = request.headers.get("authorization", "")
        token = header[len(_BEARER) :].strip() if header.lower().startswith(_BEARER) else ""
        token = token or request.query.get("access_token", "")
        try:
            body = _body.decode(request.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return Delivery(token, destination, fault=Refusal(meta_rules.INVALID, "body"))
        token = token or (body.access_token if is_text(body.access_token) else "")
        events = read_events(body.data)
        if events is None:
            return Delivery(token, destination, fault=Refusal(meta_rules.INVALID, "data"))
        if body.test_event_code is not None and not is_text(body.test_event_code):
            return Delivery(token, destination, fault=Refusal(meta_rules.INVALID, "test_event_code"))
        return Delivery(token, destination, events, test_code=body.test_event_code or "")

    def names(self, event: Mapping[str, Any]) -> tuple[str, str]:
        """Return the name and the id of an event, empty where it has none."""
        name, event_id = event.get("event_name"), event.get("event_id")
        return name if type(name) is str else "", event_id if type(event_id) is str else ""

    def refusal(self, event: Any, source: str, now_s: float) -> Refusal | None:  # noqa: ARG002 - it has none
        """Return why Meta refuses this event, and with it the call, if it does."""
        return meta_rules.refusal(event, now_s)

    def findings(self, event: dict[str, Any], raw: bytes, now_s: float) -> list[Finding]:  # noqa: ARG002 - Meta refuses those
        """Return what is wrong with an event whether or not Meta would mind."""
        return list(dict.fromkeys(meta_rules.findings(event, raw)))

    def accepted(self, count: int, messages: Sequence[str] = ()) -> Answer:
        """Return the answer to a call whose events have been taken, perhaps with warnings."""
        told = {"events_received": count, "messages": list(messages), "fbtrace_id": self._trace()}
        return Answer(HTTPStatus.OK, msgspec.json.encode(told))

    def refused(self, refusal: Refusal) -> Answer:
        """Return the answer to a call with an event that is refused; it does not tell which one."""
        answer = self._error(HTTPStatus.BAD_REQUEST, refusal.code, refusal.subcode, "Invalid parameter")
        return answer._replace(reason=refusal.member)

    def refused_by_script(self, at: int, subcode: int | None) -> Answer:  # noqa: ARG002 - it does not tell which
        """Return the answer to a call with an event that the script refuses."""
        return self.refused(Refusal(meta_rules.INVALID, "script", subcode))

    def unknown_token(self) -> Answer:
        """Return the answer to a sender that is not known."""
        return self._error(HTTPStatus.UNAUTHORIZED, 190, None, "Invalid OAuth access token.")

    def unknown_destination(self) -> Answer:
        """Return the answer to a sender that may not send there, or if there is no such dataset."""
        return self._error(
            HTTPStatus.BAD_REQUEST, 100, 33, "No such object, or no permission for it.", kind="GraphMethodException"
        )

    def throttled(self, code: int) -> Answer:
        """Return the answer to a sender that sends too much: HTTP 400, and not transient by its own account."""
        return self._error(HTTPStatus.BAD_REQUEST, code, None, f"(#{code}) Too many calls.")

    def dead_token(self, code: int, subcode: int | None) -> Answer:
        """Return the answer to a token that has expired."""
        return self._error(HTTPStatus.UNAUTHORIZED, code, subcode, "The access token has expired.")

    def no_permission(self, code: int) -> Answer:
        """Return the answer to a token that may not do this."""
        return self._error(HTTPStatus.FORBIDDEN, code, None, f"(#{code}) Permission is missing.")

    def coded(self, status: int | None, code: int, subcode: int | None, *, transient: bool) -> Answer:
        """Return the answer with any code."""
        status = HTTPStatus.BAD_REQUEST if status is None else status
        return self._error(status, code, subcode, f"(#{code}) An error.", transient=transient)

    def _trace(self) -> str:
        return f"A{next(self._traces):022d}"

    def _error(
        self,
        status: int,
        code: int,
        subcode: int | None,
        message: str,
        *,
        kind: str = "OAuthException",
        transient: bool = False,
    ) -> Answer:
        error: dict[str, Any] = {"message": message, "type": kind, "code": code}
        if subcode is not None:
            error["error_subcode"] = subcode
        error |= {
            "is_transient": transient,
            "error_user_title": "Titel in der Sprache des Inhabers",  # the language is the token owner's
            "error_user_msg": "Text in der Sprache des Inhabers",
            "fbtrace_id": self._trace(),
        }
        return Answer(status, msgspec.json.encode({"error": error}), code, subcode)
