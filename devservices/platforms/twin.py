"""What both twins have in common: how a call is read, refused and answered."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from devservices.platforms.hygiene import Finding
from devservices.platforms.names import Platform

EVENTS_MAX = 1000
"""Most events of one call, at both platforms."""


_elements = msgspec.json.Decoder(list[msgspec.Raw])


class Request(NamedTuple):
    """A POST; names of `headers` are lower-case, `query` holds the first value of each parameter."""

    path: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes


class Refusal(NamedTuple):
    """Why nothing of a call is taken: a code, and the member that is to blame, in the event `at` if it is in one."""

    code: int
    member: str
    subcode: int | None = None
    at: int | None = None


class Arrived(NamedTuple):
    """One element of `data`: what it says, and its JSON as it came."""

    content: Any
    raw: bytes


class Delivery(NamedTuple):
    """A call that has been read; `fault` says why it cannot be used, then it has no events."""

    token: str
    destination: str
    events: Sequence[Arrived] = ()
    source: str = ""
    test_code: str = ""
    fault: Refusal | None = None


class Answer(NamedTuple):
    """A status, a body with its type, and what the ledger notes of it."""

    status: int
    body: bytes
    code: int | None = None
    subcode: int | None = None
    reason: str = ""
    content_type: str = "application/json"
    retry_after: str | None = None


class Twin(Protocol):
    """One platform: its rules and its answers. Pure: no input, no output, no clock."""

    platform: Platform

    def concerns(self, path: str) -> bool:
        """Tell whether a POST to this path is a call that brings events."""

    def read(self, request: Request) -> Delivery:
        """Read a call as far as it can be read; the token and the destination even where nothing else can."""

    def names(self, event: Mapping[str, Any]) -> tuple[str, str]:
        """Return the name and the id of an event, empty where it has none."""

    def refusal(self, event: Any, source: str, now_s: float) -> Refusal | None:
        """Return why the platform refuses this event, and with it the call, if it does."""

    def findings(self, event: dict[str, Any], raw: bytes, now_s: float) -> list[Finding]:
        """Return what is wrong with an event whether or not the platform would mind, each thing once."""

    def accepted(self, count: int, messages: Sequence[str] = ()) -> Answer:
        """Return the answer to a call whose events have been taken, perhaps with warnings."""

    def refused(self, refusal: Refusal) -> Answer:
        """Return the answer to a call with an event that is refused."""

    def refused_by_script(self, at: int, subcode: int | None) -> Answer:
        """Return the answer to a call with an event that the script refuses."""

    def unknown_token(self) -> Answer:
        """Return the answer to a sender that is not known."""

    def unknown_destination(self) -> Answer:
        """Return the answer to a sender that may not send there, or if there is no such destination."""

    def throttled(self, code: int) -> Answer:
        """Return the answer to a sender that sends too much; both codes of a platform's own may be ignored."""

    def dead_token(self, code: int, subcode: int | None) -> Answer:
        """Return the answer to a token that has expired."""

    def no_permission(self, code: int) -> Answer:
        """Return the answer to a token that may not do this."""

    def coded(self, status: int | None, code: int, subcode: int | None, *, transient: bool) -> Answer:
        """Return the answer with any code."""


def read_events(data: msgspec.Raw) -> list[Arrived] | None:
    """Return the elements of `data`; None where it is no array of JSON, or none of as many as one call may bring."""
    try:
        events = [Arrived(msgspec.json.decode(raw), bytes(raw)) for raw in _elements.decode(data)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return events if 1 <= len(events) <= EVENTS_MAX else None


def sender(token: str) -> str:
    """Return by what a token is known in the ledger; empty where there was none."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()[:12] if token else ""
