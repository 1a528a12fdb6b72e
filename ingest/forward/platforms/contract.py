"""What forwarding knows of a platform: how an event looks there, how events are sent, and what an answer means."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from ingest.conversion import ConversionRecord, Platform
from ingest.forward.outcome import Skip
from ingest.registry.model import App


class Call(NamedTuple):
    """One POST. Its headers hold the token, so nothing of it is logged."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class Accepted(NamedTuple):
    """All events of the call were taken. `warning` is a code, empty where there was none."""

    warning: str = ""


class Refused(NamedTuple):
    """None was taken, because of at least one of them, and the same call will be refused again."""

    code: str


class Later(NamedTuple):
    """None is known to be taken; the same call may be taken later, not before `after_s` where that is told.

    `throttled` says that less should be sent.
    """

    code: str
    after_s: float | None = None
    throttled: bool = False


class Dead(NamedTuple):
    """Nothing is taken from this sender until an operator has mended the token, the permission or the destination."""

    code: str


Verdict = Accepted | Refused | Later | Dead


class Facts(NamedTuple):
    """A conversion, completed by what is known of its user. Times are Unix milliseconds; `happened_at_ms` is past."""

    record: ConversionRecord
    happened_at_ms: int
    now_ms: int


class PlatformApi(Protocol):
    """One platform. Pure: no input, no output, no clock."""

    platform: Platform
    events_max: int
    """Most events of one call."""

    age_ms_max: int
    """Older conversions are not sent."""

    def event(self, facts: Facts, app: App) -> bytes | Skip:
        """Return the event as the platform takes it, as JSON, or why it would not."""

    def call(self, app: App, token: str, events: Sequence[bytes], test_code: str | None = None) -> Call:
        """Return the call that sends events; with a `test_code` they show up as a test."""

    def verdict(self, status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
        """Return what an answer means, whatever it holds; names of `headers` are lower-case."""
