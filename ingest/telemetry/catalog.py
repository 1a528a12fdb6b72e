"""Every metric, declared once: name, kind, unit, meaning, and labels with all values that they can take.

`docs/metrics.md` is written from this table with `python -m ingest.telemetry.catalog > docs/metrics.md`.
"""

import enum
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from ingest.conversion import Platform
from ingest.errors import Code
from ingest.outcome import RejectionCode
from ingest.telemetry.background import BACKGROUND_METRICS
from ingest.telemetry.metric import ALL, OTHER, Kind, Label, Merge, Metric, Process
from normalize.notes import Note


class RefusalReason(enum.StrEnum):
    """Why the HTTP layer ended a connection by itself."""

    CONNECTIONS = "connections"
    HEADER_BYTES = "header_bytes"
    HEADER_TIME = "header_time"
    MALFORMED = "malformed"
    PIPELINED = "pipelined"


class StatementKind(enum.StrEnum):
    """What an app sends beside events, one at a time."""

    USER_PROPERTIES = "user_properties"
    CONSENT = "consent"
    SKAN_POSTBACKS = "skan_postbacks"


class ClickFate(enum.StrEnum):
    """What became of a click: the promise given for it, or why it was not recorded."""

    REPLICATED = "replicated"
    SPOOLED = "spooled"
    UNAVAILABLE = "unavailable"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    REJECTED = "rejected"


def _label(name: str, values: Sequence[str]) -> Label:
    return Label(name, (*values, OTHER))


_PLAIN_STATUSES: Final = (200, 201, 202, 204, 302, 304, 308)
CLIENT_GONE_STATUS: Final = 499
"""Stands for the status of a request whose client left before the answer."""

NO_CODE: Final = "none"
"""Stands for the error code of an answer that is no error."""

ROUTE: Final = _label(
    "route",
    (
        "/events",
        "/l/events",
        "/users/properties",
        "/consent",
        "/skan/postbacks",
        "/c/{app_id}",
        "/config",
        "/health",
        "/v1/whoami",
        "/v1/events",
        "/v1/api-keys",
        "/v1/api-keys/{keyId}",
        "/v1/api-keys/{keyId}/kill",
        "/v1/api-keys/{keyId}/rotate",
        "/v1/audit-log",
        "/v1/projects/{projectId}/events/users/{userId}",
        "/v1/projects/{projectId}/erasures/{erasureId}",
    ),
)
STATUS: Final = _label(
    "status",
    [str(each) for each in sorted({*_PLAIN_STATUSES, CLIENT_GONE_STATUS, *(code.value.status for code in Code)})],
)
CODE: Final = _label("code", (NO_CODE, *(code.name for code in Code)))
STAGE: Final = Label("stage", ("body", "inflate", "process", "publish"))
FATE: Final = Label("fate", ("replicated", "spooled", "rejected"))
OUTCOME: Final = Label("outcome", ("accepted", "duplicate", "rejected"))

_COUNTER, _GAUGE, _HISTOGRAM = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM

_EDGE_METRICS: Final = (
    Metric("ingest_requests_total", _COUNTER, "requests", "Requests answered by the app.", (ROUTE, STATUS, CODE)),
    Metric(
        "ingest_request_seconds",
        _HISTOGRAM,
        "seconds",
        "Time from the end of a request's headers to the end of its answer.",
        (ROUTE,),
        bounds=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
    ),
    Metric(
        "ingest_request_bytes_total",
        _COUNTER,
        "bytes",
        "Bodies, as they came and after decompression.",
        (Label("kind", ("wire", "inflated")),),
    ),
    Metric("ingest_stage_seconds_total", _COUNTER, "seconds", "Time spent in each stage of a batch.", (STAGE,)),
    Metric("ingest_stage_calls_total", _COUNTER, "batches", "Batches that went through each stage.", (STAGE,)),
    Metric(
        "ingest_events_received_total",
        _COUNTER,
        "events",
        "Events of batches that were judged event by event; always the sum of `ingest_events_total`.",
    ),
    Metric("ingest_events_total", _COUNTER, "events", "Events by their outcome.", (OUTCOME,)),
    Metric(
        "ingest_events_rejected_total",
        _COUNTER,
        "events",
        "Rejected events by the reason told to the client.",
        (_label("code", list(RejectionCode)),),
    ),
    Metric(
        "ingest_events_stored_total",
        _COUNTER,
        "events",
        "Accepted events by the promise given for them; always the accepted ones of `ingest_events_total`.",
        (Label("stored", ("replicated", "spooled")),),
    ),
    Metric(
        "ingest_conversions_total",
        _COUNTER,
        "conversions",
        "Accepted events that were stored a second time, for forwarding to a platform.",
        (Label("platform", tuple(Platform)),),
    ),
    Metric(
        "ingest_user_properties_total",
        _COUNTER,
        "statements",
        "Statements of user properties by their fate: the promise given for them, or rejected.",
        (FATE,),
    ),
    Metric(
        "ingest_consent_total",
        _COUNTER,
        "statements",
        "Statements of consent by their fate: the promise given for them, or rejected.",
        (FATE,),
    ),
    Metric(
        "ingest_skan_postbacks_total",
        _COUNTER,
        "postbacks",
        "SKAdNetwork postbacks by their fate: the promise given for them, or rejected.",
        (FATE,),
    ),
    Metric(
        "ingest_clicks_total",
        _COUNTER,
        "clicks",
        "Clicks that were sent on, by their fate: the promise given for the record, or why there is none.",
        (Label("fate", tuple(ClickFate)),),
    ),
    Metric(
        "ingest_notes_total",
        _COUNTER,
        "notes",
        "What was removed from events or changed in them.",
        (_label("note", (*Note, "unexpected_type", "surrogate_replaced", "member_lost")),),
    ),
    Metric("ingest_in_flight_requests", _GAUGE, "requests", "Requests being answered."),
    Metric("ingest_in_flight_bytes", _GAUGE, "bytes", "Bodies held by requests being answered."),
    Metric("ingest_connections", _GAUGE, "connections", "Open connections of clients, idle ones included."),
    Metric(
        "ingest_connections_refused_total",
        _COUNTER,
        "connections",
        "Connections that were ended before or beside the app, by reason.",
        (Label("reason", tuple(RefusalReason)),),
    ),
    Metric("ingest_transport_ok", _GAUGE, "1 or 0", "Whether records are being stored.", merge=Merge.MIN),
    Metric("ingest_transport_pending_records", _GAUGE, "records", "Records that wait for their acknowledgement."),
    Metric(
        "ingest_transport_pending_age_seconds",
        _GAUGE,
        "seconds",
        "Age of the oldest record that waits for its acknowledgement.",
        merge=Merge.MAX,
    ),
    Metric(
        "ingest_spool_records",
        _GAUGE,
        "records",
        "Records over the life of the spools that are held now: stored is always the sum of the other four. Stored may"
        " exceed what was answered with `spooled`, never fall below it.",
        (Label("state", ("stored", "drained", "waiting", "set_aside", "erased")),),
    ),
    Metric("ingest_spool_bytes", _GAUGE, "bytes", "Size of the spools, without free pages."),
    Metric(
        "ingest_spool_oldest_age_seconds",
        _GAUGE,
        "seconds",
        "Age of the oldest record that waits in a spool.",
        merge=Merge.MAX,
    ),
    Metric("ingest_breaker_open", _GAUGE, "workers", "Workers that send new records to the spool, not to Kafka."),
    Metric("ingest_breaker_trips_total", _COUNTER, "trips", "How often Kafka was found not to acknowledge."),
    Metric("ingest_publish_rounds_total", _COUNTER, "batches", "Batches given to the transport."),
    Metric(
        "ingest_publish_failures_total",
        _COUNTER,
        "batches",
        "Batches that the transport did not store.",
        (_label("reason", ("unavailable", "record_too_large")),),
    ),
    Metric(
        "ingest_counters_local", _GAUGE, "workers", "Workers that count rates by themselves because Valkey is away."
    ),
    Metric(
        "ingest_cache_failures_total",
        _COUNTER,
        "calls",
        "Calls that Valkey did not answer in time or answered with an error.",
    ),
    Metric("ingest_registry_apps", _GAUGE, "apps", "Apps that may send.", merge=Merge.MAX),
    Metric(
        "ingest_registry_loaded_timestamp_seconds",
        _GAUGE,
        "Unix seconds",
        "When the registry in use was loaded; of several workers the one that is furthest behind.",
        merge=Merge.MIN,
    ),
    Metric(
        "ingest_registry_problems",
        _GAUGE,
        "problems",
        "Faults of the registry's newest version; above 0 the last good one stays in use.",
        merge=Merge.MAX,
    ),
    Metric(
        "ingest_outbox_oldest_age_seconds",
        _GAUGE,
        "seconds",
        "Age of the oldest message about a kill switch that somebody has not been told yet.",
        merge=Merge.MAX,
        processes=frozenset({Process.EDGE, Process.NOTIFY}),
    ),
    Metric(
        "ingest_request_log_dropped_total",
        _COUNTER,
        "requests",
        "Partner requests that are missing in the request log, because the database was away too long.",
    ),
    Metric("ingest_geo_problems", _GAUGE, "files", "Geo files that cannot be read.", merge=Merge.MAX),
    Metric(
        "ingest_tls_problems",
        _GAUGE,
        "problems",
        "Faults of the newest TLS certificate and key; above 0 the last good pair stays in use.",
        merge=Merge.MAX,
    ),
)

_COMMON_METRICS: Final = (
    Metric(
        "ingest_log_fields_dropped_total",
        _COUNTER,
        "fields",
        "Log fields left out, not being on the allow-list.",
        processes=ALL,
    ),
    Metric("ingest_process_resident_bytes", _GAUGE, "bytes", "Memory held by the process.", processes=ALL),
    Metric("ingest_process_cpu_seconds_total", _COUNTER, "seconds", "CPU time used by the process.", processes=ALL),
    Metric(
        "ingest_build_info",
        _GAUGE,
        "1",
        "The running version.",
        (Label("version", bound="one value"),),
        merge=Merge.MAX,
        processes=ALL,
    ),
)

METRICS: Final = (*_EDGE_METRICS, *_COMMON_METRICS, *BACKGROUND_METRICS)
BY_NAME: Final = {metric.name: metric for metric in METRICS}

_INTRODUCTION: Final = """\
`GET /metrics` on the admin surface of a process shows the metrics that are declared for it, and no others. That of the
edge answers for all workers at once: counters and histograms are added up, those of workers that have ended included,
and gauges become their sum unless the table says otherwise. Every label has a bounded set of values; `other` stands for
anything else."""


def metrics_of(process: Process) -> tuple[Metric, ...]:
    """Return the metrics that a process shows, in their order."""
    return tuple(metric for metric in METRICS if process in metric.processes)


def render_markdown() -> str:
    """Return the page `docs/metrics.md`."""
    lines = [
        "# Metrics",
        "",
        "Written by `python -m ingest.telemetry.catalog`; a test holds this page and the code together.",
        "",
        _INTRODUCTION,
        "",
        *_sections(),
        "## Buckets",
        "",
        "As upper bounds:",
        "",
        *(f"- `{metric.name}`: {', '.join(map(str, metric.bounds))}" for metric in METRICS if metric.bounds),
        "",
    ]
    return "\n".join(lines)


def _sections() -> Iterator[str]:
    """Yield a section for each set of processes, the metrics of one alone before those of several."""
    in_order = sorted(METRICS, key=lambda metric: (len(metric.processes), _places(metric)))
    for _, metrics in groupby(in_order, _places):
        first, *rest = metrics
        yield from (
            f"## {_heading(first.processes)}",
            "",
            "| name | kind | unit | meaning | labels |",
            "| --- | --- | --- | --- | --- |",
            *map(_row, (first, *rest)),
            "",
        )


def _places(metric: Metric) -> list[int]:
    return [place for place, process in enumerate(Process) if process in metric.processes]


def _heading(processes: frozenset[Process]) -> str:
    if processes == ALL:
        return "Every process"
    *others, last = (process.capitalize() for process in Process if process in processes)
    return f"{', '.join(others)} and {last}" if others else last


def _row(metric: Metric) -> str:
    is_merged = metric.merge is not Merge.SUM and Process.EDGE in metric.processes
    kind = f"{metric.kind}, {metric.merge} over workers" if is_merged else metric.kind
    labels = "<br>".join(f"`{label.name}`: {_values(label)}" for label in metric.labels)
    return f"| `{metric.name}` | {kind} | {metric.unit} | {metric.meaning} | {labels} |"


def _values(label: Label) -> str:
    named = [f"`{value}`" if value else "empty" for value in label.values]
    return ", ".join([*named, label.bound] if label.bound else named)


if __name__ == "__main__":
    import sys

    sys.stdout.write(render_markdown())
