"""What arrived: events once each, as platforms count them; how often each came; calls; and what was wrong."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from devservices.platforms.hygiene import Finding, Reason
from devservices.platforms.names import Platform

WINDOW_MS = 48 * 3_600_000
"""For so long after an event was taken, another of the same name and id is the same event."""

EVENTS_KEPT = 50_000
KEYS_MAX = 1_000_000
_CALLS_KEPT = 100_000
_VIOLATIONS_KEPT = 10_000


class Key(NamedTuple):
    """By what a platform tells an event from another."""

    platform: Platform
    destination: str
    name: str
    event_id: str


class TakenEvent(msgspec.Struct, frozen=True, gc=False):
    """An event that counts: a platform's, as JSON in `payload`, exactly as it came. `source` is TikTok's.

    Without an `event_id` (empty) nothing is the same event.
    """

    platform: Platform
    destination: str
    name: str
    event_id: str
    received_ms: int
    source: str
    test_code: str
    payload: bytes

    @property
    def content(self) -> dict[str, Any]:
        """The event, decoded."""
        return msgspec.json.decode(self.payload, type=dict[str, Any])


class CallMade(msgspec.Struct, frozen=True, gc=False):
    """A call and what became of it.

    `sender` is the beginning of the token's SHA-256. `status` and `code` are None where no answer was sent, and `code`
    where the answer has none. `reason` is the member for which it was refused. `taken` counts the events that were new,
    `repeated` those that had been taken before.
    """

    platform: Platform
    destination: str
    received_ms: int
    sender: str
    events: int
    behaviour: str
    status: int | None
    code: int | None
    subcode: int | None
    reason: str
    taken: int
    repeated: int


class Violation(msgspec.Struct, frozen=True, gc=False):
    """Something that should never have been sent, by the name of the member it stands in; not what it is."""

    platform: Platform
    destination: str
    event_id: str
    member: str
    reason: Reason


class Totals(msgspec.Struct):
    """Numbers since the start, or since `forget`; they count what is no longer listed too."""

    calls: int = 0
    events: int = 0
    repeats: int = 0
    violations: int = 0


class Ledger:
    """Keeps the newest `events_kept` events, and counts all. All methods may be called from any thread."""

    def __init__(self, events_kept: int = EVENTS_KEPT) -> None:
        self._changed = threading.Condition()
        self._events: deque[TakenEvent] = deque(maxlen=events_kept)
        self._calls: deque[CallMade] = deque(maxlen=_CALLS_KEPT)
        self._violations: deque[Violation] = deque(maxlen=_VIOLATIONS_KEPT)
        self._taken_ms: dict[Key, int] = {}
        self._takes_ms: dict[Key, list[int]] = {}
        self._totals = {platform: Totals() for platform in Platform}

    def take(self, platform: Platform, events: Sequence[TakenEvent]) -> tuple[int, int]:
        """Note events, and return how many of them are new and how many came before."""
        taken = 0
        with self._changed:
            for event in events:
                if self._is_new(event):
                    self._events.append(event)
                    taken += 1
            totals = self._totals[platform]
            totals.events += taken
            totals.repeats += len(events) - taken
            self._changed.notify_all()
        return taken, len(events) - taken

    def note_call(self, call: CallMade) -> None:
        """Note a call."""
        with self._changed:
            self._calls.append(call)
            self._totals[call.platform].calls += 1
            self._changed.notify_all()

    def note_violations(self, platform: Platform, destination: str, event_id: str, findings: Sequence[Finding]) -> None:
        """Note what is wrong with an event."""
        with self._changed:
            self._violations.extend(Violation(platform, destination, event_id, *finding) for finding in findings)
            self._totals[platform].violations += len(findings)

    def events(self, platform: Platform | None = None) -> list[TakenEvent]:
        """Return the events that count, oldest first."""
        with self._changed:
            return [event for event in self._events if platform in (None, event.platform)]

    def calls(self, platform: Platform | None = None) -> list[CallMade]:
        """Return the calls, oldest first, also those that were refused or never answered."""
        with self._changed:
            return [call for call in self._calls if platform in (None, call.platform)]

    def violations(self, platform: Platform | None = None) -> list[Violation]:
        """Return what should never have been sent, oldest first, also in calls that took nothing."""
        with self._changed:
            return [each for each in self._violations if platform in (None, each.platform)]

    def times(self, platform: Platform | None = None) -> dict[Key, int]:
        """Return how often each event with an id was taken from a call: once, unless it was sent again."""
        with self._changed:
            takes = self._takes_ms
            return {
                key: len(takes[key]) if key in takes else 1
                for key in self._taken_ms
                if platform in (None, key.platform)
            }

    def takes_ms(self, platform: Platform | None = None) -> dict[Key, list[int]]:
        """Return when each event with an id was taken from a call, Unix time, every time."""
        with self._changed:
            return {
                key: list(self._takes_ms.get(key, (first_ms,)))
                for key, first_ms in self._taken_ms.items()
                if platform in (None, key.platform)
            }

    def repeats(self, platform: Platform | None = None) -> dict[Key, int]:
        """Return how often each event was taken that was taken more than once."""
        with self._changed:
            return {key: len(takes) for key, takes in self._takes_ms.items() if platform in (None, key.platform)}

    def totals(self) -> dict[Platform, Totals]:
        """Return the numbers of each platform."""
        with self._changed:
            return {platform: msgspec.structs.replace(totals) for platform, totals in self._totals.items()}

    def wait_for_events(self, count: int, timeout_s: float = 30.0) -> bool:
        """Wait until so many events count, of both platforms; False at the timeout."""
        return self._wait(lambda: sum(totals.events for totals in self._totals.values()) >= count, timeout_s)

    def wait_for_calls(self, count: int, timeout_s: float = 30.0) -> bool:
        """Wait until so many calls have been decided, of both platforms; False at the timeout."""
        return self._wait(lambda: sum(totals.calls for totals in self._totals.values()) >= count, timeout_s)

    def forget(self) -> None:
        """Forget everything that arrived."""
        with self._changed:
            for kept in (self._events, self._calls, self._violations, self._taken_ms, self._takes_ms):
                kept.clear()
            self._totals = {platform: Totals() for platform in Platform}

    def _wait(self, done: Callable[[], bool], timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(done, timeout_s)

    def _is_new(self, event: TakenEvent) -> bool:
        if not event.event_id:
            return True
        key = Key(event.platform, event.destination, event.name, event.event_id)
        before = self._taken_ms.get(key)
        if before is None:
            self._taken_ms[key] = event.received_ms
            if len(self._taken_ms) > KEYS_MAX:
                oldest = next(iter(self._taken_ms))
                del self._taken_ms[oldest]
                self._takes_ms.pop(oldest, None)
            return True
        self._takes_ms.setdefault(key, [before]).append(event.received_ms)
        if event.received_ms - before < WINDOW_MS:
            return False
        self._taken_ms[key] = event.received_ms
        return True
