"""What one worker of the edge counts: plain numbers, because a counter behind a lock costs a microsecond each time.

Every metric of the edge has an attribute here, named as the metric without `ingest_` and `_total`.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from ingest.telemetry.catalog import BY_NAME, CODE, ROUTE, STATUS, RefusalReason, StatementKind, metrics_of
from ingest.telemetry.metric import OTHER, Process
from ingest.telemetry.process import VERSION, cpu_seconds, resident_bytes
from ingest.telemetry.snapshot import Distribution, Sample, Scalar, Snapshot

_BOUNDS: Final = BY_NAME["ingest_request_seconds"].bounds
_UNKNOWN_STATUS: Final = 0
_METRICS: Final = metrics_of(Process.EDGE)

ByLabel = dict[str, Scalar]


class Rejected(Protocol):
    """Anything that tells why an event was rejected."""

    @property
    def code(self) -> str:
        """The reason, one of the rejection codes."""


class Histogram:
    """Counts of values per bucket, the infinite one last, and their sum."""

    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets = [0] * (len(_BOUNDS) + 1)
        self.total = 0.0


def _by_label(metric: str) -> ByLabel:
    # Known from the start, so that a rate over the first increment is right, and so that nothing else gets in.
    (label,) = BY_NAME[metric].labels
    return dict.fromkeys(label.values, 0)


class Figures:
    """The figures of one worker, changed by its event loop alone.

    Gauges are set, and counters without a method are added to, by whoever knows them.
    """

    __slots__ = tuple(metric.attribute for metric in _METRICS)

    def __init__(self) -> None:
        self.requests: dict[tuple[str, int, str], int] = {}
        self.request_seconds = {route: Histogram() for route in ROUTE.values}
        self.request_bytes = _by_label("ingest_request_bytes_total")
        self.stage_seconds = _by_label("ingest_stage_seconds_total")
        self.stage_calls = _by_label("ingest_stage_calls_total")
        self.events_received = 0
        self.events = _by_label("ingest_events_total")
        self.events_rejected = _by_label("ingest_events_rejected_total")
        self.events_stored = _by_label("ingest_events_stored_total")
        self.conversions = _by_label("ingest_conversions_total")
        self.user_properties = _by_label("ingest_user_properties_total")
        self.consent = _by_label("ingest_consent_total")
        self.skan_postbacks = _by_label("ingest_skan_postbacks_total")
        self.clicks = _by_label("ingest_clicks_total")
        self.notes = _by_label("ingest_notes_total")
        self.in_flight_requests = 0
        self.in_flight_bytes = 0
        self.connections = 0
        self.connections_refused = _by_label("ingest_connections_refused_total")
        self.transport_ok = 0
        self.transport_pending_records = 0
        self.transport_pending_age_seconds = 0.0
        self.spool_records = _by_label("ingest_spool_records")
        self.spool_bytes = 0
        self.spool_oldest_age_seconds = 0.0
        self.breaker_open = 0
        self.breaker_trips = 0
        self.publish_rounds = 0
        self.publish_failures = _by_label("ingest_publish_failures_total")
        self.counters_local = 0
        self.cache_failures = 0
        self.registry_apps = 0
        self.registry_loaded_timestamp_seconds = 0.0
        self.registry_problems = 0
        self.outbox_oldest_age_seconds = 0.0
        self.request_log_dropped = 0
        self.geo_problems = 0
        self.tls_problems = 0
        self.log_fields_dropped = 0
        self.process_resident_bytes = 0
        self.process_cpu_seconds = 0.0
        self.build_info: ByLabel = {VERSION: 1}

    def request(self, route: str, status: int, code: str, seconds: float) -> None:
        """Count one answer: `route` is its template, `code` the error code or `none`, `seconds` the time it took."""
        try:
            self.requests[route, status, code] += 1
        except KeyError:
            self._seldom_request(route, status, code)
        histogram = self.request_seconds.get(route) or self.request_seconds[OTHER]
        histogram.buckets[bisect_left(_BOUNDS, seconds)] += 1
        histogram.total += seconds

    def _seldom_request(self, route: str, status: int, code: str) -> None:
        # The first of its kind, or one with a value that is not declared.
        known_status = status if str(status) in STATUS.values else _UNKNOWN_STATUS
        key = (ROUTE.bounded(route), known_status, CODE.bounded(code))
        self.requests[key] = self.requests.get(key, 0) + 1

    def body(self, wire_bytes: int, inflated_bytes: int) -> None:
        """Count the body of one request."""
        self.request_bytes["wire"] += wire_bytes
        self.request_bytes["inflated"] += inflated_bytes

    def stages(self, body: float, inflate: float, process: float, publish: float) -> None:
        """Count the seconds that one batch spent in each stage."""
        seconds, calls = self.stage_seconds, self.stage_calls
        seconds["body"] += body
        seconds["inflate"] += inflate
        seconds["process"] += process
        seconds["publish"] += publish
        for stage in calls:
            calls[stage] += 1

    def batch(
        self,
        received: int,
        stored: str | None,
        *,
        accepted: int,
        duplicates: int,
        rejected: Iterable[Rejected],
        notes: Iterable[str],
    ) -> None:
        """Count the fates of a batch's `received` events.

        `stored` is the promise given for the `accepted` ones, None where none was accepted.
        """
        self.events_received += received
        self.events["accepted"] += accepted
        self.events["duplicate"] += duplicates
        if stored is not None:
            self.events_stored[stored] += accepted
        for rejection in rejected:
            self.events["rejected"] += 1
            _add_one(self.events_rejected, rejection.code)
        for note in notes:
            _add_one(self.notes, note)

    def routed(self, conversions: Mapping[str, int]) -> None:
        """Count the events of a batch that were stored for forwarding, by platform."""
        for platform, count in conversions.items():
            self.conversions[platform] += count

    def statement(self, kind: StatementKind, stored: str | None, notes: Iterable[str]) -> None:
        """Count the fate of one statement or postback: the promise given for it, None where it was rejected."""
        fates: ByLabel = getattr(self, kind)
        fates[stored or "rejected"] += 1
        for note in notes:
            _add_one(self.notes, note)

    def refused(self, reason: RefusalReason) -> None:
        """Count a connection that the HTTP layer ended by itself."""
        self.connections_refused[reason] += 1

    def publish_failed(self, reason: str) -> None:
        """Count a batch that the transport did not store."""
        _add_one(self.publish_failures, reason)

    def sample_process(self) -> None:
        """Read this process's memory and CPU time; called before a snapshot."""
        self.process_resident_bytes = resident_bytes()
        self.process_cpu_seconds = cpu_seconds()

    def snapshot(self) -> Snapshot:
        """Return all figures as they are now."""
        samples: list[Sample] = []
        distributions: list[Distribution] = []
        for metric in _METRICS:
            name, held = metric.name, getattr(self, metric.attribute)
            if not isinstance(held, dict):
                samples.append(Sample(name, (), held))
                continue
            for key, value in held.items():
                if isinstance(value, Histogram):
                    distributions.append(Distribution(name, (key,), tuple(value.buckets), value.total))
                else:
                    samples.append(Sample(name, _labels(key), value))
        return Snapshot(tuple(samples), tuple(distributions))


def _add_one(counts: ByLabel, value: str) -> None:
    counts[value if value in counts else OTHER] += 1


def _labels(key: str | tuple[str, int, str]) -> tuple[str, ...]:
    if isinstance(key, str):
        return (key,)
    route, status, code = key
    return (route, OTHER if status == _UNKNOWN_STATUS else str(status), code)
