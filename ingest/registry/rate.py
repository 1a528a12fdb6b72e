"""How many events an app may send: one token bucket per app, exact over any length of time.

A batch passes while the bucket is not in debt and is then charged with all of its events, so one that is larger than
the bucket passes too, and those after it wait until the debt is paid.

Everything is counted in whole units, so nothing is lost to rounding: one event costs `60_000 * share` units, and every
millisecond pays back `events_per_minute_max` units.

Where processes share one maximum, `pop_charges` and `take` let somebody beside the requests tell them of each other.
"""

from collections.abc import Container

from ingest.errors import Code, Refusal
from ingest.registry.model import App

_MINUTE_MS = 60_000


class EventRate:
    """The buckets of one process, which takes one of `share` equal parts of every app's maximum.

    A full bucket holds one minute's events. There is a bucket only for an app that has a maximum and has sent, so
    memory is bounded by the registered apps; `retain` drops those that are gone.
    """

    def __init__(self, share: int = 1) -> None:
        self._event_units = 0
        self._buckets: dict[str, tuple[int, int, int]] = {}  # units, as of when, and the maximum per minute
        self._charged: dict[str, int] = {}
        self.set_share(share)

    def __len__(self) -> int:
        return len(self._buckets)

    def check(self, app: App, monotonic_ms: int) -> None:
        """Refuse as `charge` does, but charge nothing, so that it can be asked before the work."""
        if app.events_per_minute_max is not None:
            self._credit(app.id, app.events_per_minute_max, monotonic_ms)

    def charge(self, app: App, events: int, monotonic_ms: int) -> None:
        """Charge a batch of `events`. The clock may not go back.

        Raises `Refusal` with `RATE_LIMITED` while the app is in debt, and charges nothing then; its `retry_after_s` is
        the time until the next batch passes, rounded up.
        """
        if app.events_per_minute_max is not None:
            credit = self._credit(app.id, app.events_per_minute_max, monotonic_ms)
            self._buckets[app.id] = credit - events * self._event_units, monotonic_ms, app.events_per_minute_max
            self._charged[app.id] = self._charged.get(app.id, 0) + events

    def refund(self, app: App, events: int) -> None:
        """Give back what a batch was charged that was not stored: its client sends it again."""
        bucket = self._buckets.get(app.id)
        if bucket is not None:
            units, since_ms, per_minute = bucket
            self._buckets[app.id] = units + events * self._event_units, since_ms, per_minute
            self._charged[app.id] = self._charged.get(app.id, 0) - events

    def set_share(self, share: int) -> None:
        """Take one of `share` equal parts from now on; every bucket stays as full as it is, and every debt as long."""
        if share < 1:
            raise ValueError("share counts processes, so it is at least 1")
        self._event_units = _MINUTE_MS * share

    def pop_charges(self) -> dict[str, int]:
        """Return the events charged here since the last call, less those given back, by app id."""
        charged, self._charged = self._charged, {}
        return charged

    def take(self, app_id: str, events: int, monotonic_ms: int, *, within_ms: int = 0) -> None:
        """Charge what other processes have let pass, whatever the debt; fewer than 0 `events` are given back.

        Where it is not known when in the last `within_ms` that was, time may have paid for some of it: that part
        empties the bucket, but makes no debt. An app without a bucket has sent nothing here and is charged nothing.
        """
        bucket = self._buckets.get(app_id)
        if bucket is not None:
            units, since_ms, per_minute = bucket
            credit = min(per_minute * _MINUTE_MS, units + (monotonic_ms - since_ms) * per_minute)
            owed = events * self._event_units
            owed = max(owed - within_ms * per_minute, min(owed, max(0, credit)))
            self._buckets[app_id] = credit - owed, monotonic_ms, per_minute

    def retain(self, app_ids: Container[str]) -> None:
        """Forget the buckets of all other apps."""
        self._buckets = {app_id: bucket for app_id, bucket in self._buckets.items() if app_id in app_ids}
        self._charged = {app_id: events for app_id, events in self._charged.items() if app_id in app_ids}

    def _credit(self, app_id: str, per_minute: int, monotonic_ms: int) -> int:
        full = per_minute * _MINUTE_MS
        units, since_ms, _ = self._buckets.get(app_id, (full, monotonic_ms, per_minute))
        credit = min(full, units + (monotonic_ms - since_ms) * per_minute)
        if credit < 0:
            wait_s = -(credit // (per_minute * 1_000))
            raise Refusal(Code.RATE_LIMITED, details={"eventsPerMinuteMax": per_minute}, retry_after_s=wait_s)
        return credit
