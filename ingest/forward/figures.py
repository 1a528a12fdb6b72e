"""What forwarding counts, in the form in which it is shown; bounded, however many apps there are and codes come."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from ingest.conversion import Platform
from ingest.forward.destination import Destination, State
from ingest.forward.job import Key
from ingest.forward.outcome import Fate, Outcome, Skip
from ingest.forward.park import NO_ROOM, TOO_LATE
from ingest.telemetry.exposition import merge
from ingest.telemetry.metric import OTHER
from ingest.telemetry.snapshot import Sample, Snapshot

SERIES_MAX: Final = 10_000
"""Series of one metric that have an app of their own."""

CODES_MAX: Final = 200
"""Codes of platforms that are told apart."""

_WORDS: Final = frozenset({"", *Skip, TOO_LATE.reason, NO_ROOM.reason})

_is_code = re.compile(r"[A-Za-z0-9_.:/-]{1,64}").fullmatch


class _Series(NamedTuple):
    app: str
    platform: Platform
    fate: Fate
    reason: str


class ForwardFigures:
    """Counts outcomes since the start; `count` is what a `Ledger` tells of each."""

    def __init__(self, *, series_max: int = SERIES_MAX, codes_max: int = CODES_MAX) -> None:
        self._series_max = series_max
        self._codes_max = codes_max
        self._counts: dict[tuple[str, str, str, str], int] = {}
        self._codes: set[str] = set()

    def count(self, key: Key, outcome: Outcome) -> None:
        """Count one outcome."""
        try:
            self._counts[key.app_id, key.platform, outcome.fate, outcome.reason] += 1
        except KeyError:
            self._count_seldom(_Series(key.app_id, key.platform, outcome.fate, outcome.reason))

    def fates(self) -> Counter[Fate]:
        """Return how many conversions have ended how."""
        fates: Counter[Fate] = Counter()
        for (_, _, fate, _), count in self._counts.items():
            fates[Fate(fate)] += count
        return fates

    def samples(self, destinations: Iterable[Destination], parked_records: int) -> list[Sample]:
        """Return the figures of this moment."""
        told = (
            *(Sample("ingest_forward_outcomes_total", labels, count) for labels, count in self._counts.items()),
            *_destination_samples(destinations, self._series_max // len(State)),
            Sample("ingest_forward_parked_records", (), parked_records),
        )
        return list(merge([Snapshot(told)]).samples)

    def _count_seldom(self, series: _Series) -> None:
        """Count the first of its kind, or one that has no series of its own."""
        series = series._replace(reason=self._bounded(series.reason))
        is_full = len(self._counts) >= self._series_max and series not in self._counts
        if is_full or series.reason == Skip.APP_UNKNOWN:
            series = series._replace(app=OTHER)
        self._counts[series] = self._counts.get(series, 0) + 1

    def _bounded(self, reason: str) -> str:
        if reason in _WORDS or reason in self._codes:
            return reason
        if len(self._codes) >= self._codes_max or not _is_code(reason):
            return OTHER
        self._codes.add(reason)
        return reason


def _destination_samples(destinations: Iterable[Destination], destinations_max: int) -> Iterator[Sample]:
    for number, each in enumerate(destinations):
        app = each.app_id if number < destinations_max else OTHER
        now = each.state
        for state in State:
            yield Sample("ingest_forward_destination_state", (app, each.platform, state), int(state is now))
        if each.last_success_ms is not None:
            at_s = each.last_success_ms / 1000
            yield Sample("ingest_forward_last_success_timestamp_seconds", (app, each.platform), at_s)
