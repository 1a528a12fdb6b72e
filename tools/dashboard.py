"""Write the dashboard for Grafana: `python tools/dashboard.py [PATH]`, by default `deploy/grafana/ingest.json`.

A panel is a title, a unit and its queries; where it stands follows from its row. Panels show what is declared in the
catalogue of metrics, which a test holds.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

PATH: Final = Path(__file__).resolve().parent.parent / "deploy" / "grafana" / "ingest.json"
COLUMNS: Final = 3
WIDTH: Final = 24 // COLUMNS
HEIGHT: Final = 8

_SOURCE: Final = {"type": "prometheus", "uid": "${source}"}
_OF: Final = 'job="ingest", instance=~"$instance"'


class Query(NamedTuple):
    """What is asked, in PromQL with `@` for the labels that every query selects by, and the name of its lines."""

    expression: str
    legend: str


class Panel(NamedTuple):
    """One panel of lines; `unit` is a name of Grafana's."""

    title: str
    unit: str
    queries: tuple[Query, ...]


def _rate(metric: str, by: str, where: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{{{where}@}}[$__rate_interval]))"


def _panel(title: str, unit: str, *queries: tuple[str, str]) -> Panel:
    return Panel(title, unit, tuple(Query(*each) for each in queries))


ROWS: Final[dict[str, tuple[Panel, ...]]] = {
    "Traffic": (
        _panel("Requests by status", "reqps", (_rate("ingest_requests_total", "status"), "{{status}}")),
        _panel("Events received", "cps", (_rate("ingest_events_received_total", "instance"), "{{instance}}")),
        _panel("Bytes of bodies", "Bps", (_rate("ingest_request_bytes_total", "kind"), "{{kind}}")),
        _panel("Connections", "short", ("sum by (instance) (ingest_connections{@})", "{{instance}}")),
        _panel("Connections refused", "cps", (_rate("ingest_connections_refused_total", "reason"), "{{reason}}")),
        _panel("In flight", "short", ("sum by (instance) (ingest_in_flight_requests{@})", "{{instance}}")),
    ),
    "Outcomes": (
        _panel("Events by outcome", "cps", (_rate("ingest_events_total", "outcome"), "{{outcome}}")),
        _panel("Rejected events by reason", "cps", (_rate("ingest_events_rejected_total", "code"), "{{code}}")),
        _panel("Accepted events by promise", "cps", (_rate("ingest_events_stored_total", "stored"), "{{stored}}")),
        _panel("Errors by code", "reqps", (_rate("ingest_requests_total", "code", 'code!="none", '), "{{code}}")),
        _panel("Notes", "cps", (_rate("ingest_notes_total", "note"), "{{note}}")),
        _panel(
            "Statements, postbacks and clicks",
            "cps",
            (_rate("ingest_user_properties_total", "fate"), "properties, {{fate}}"),
            (_rate("ingest_consent_total", "fate"), "consent, {{fate}}"),
            (_rate("ingest_skan_postbacks_total", "fate"), "postbacks, {{fate}}"),
            (_rate("ingest_clicks_total", "fate"), "clicks, {{fate}}"),
        ),
    ),
    "Latency": (
        _panel(
            "Answers to batches",
            "s",
            *(
                (
                    f"histogram_quantile({share}, "
                    + _rate("ingest_request_seconds_bucket", "le", 'route=~"/events|/v1/events", ')
                    + ")",
                    name,
                )
                for share, name in ((0.5, "half"), (0.99, "99 in 100"))
            ),
        ),
        _panel(
            "Time in a stage",
            "s",
            (
                f"{_rate('ingest_stage_seconds_total', 'stage')} / {_rate('ingest_stage_calls_total', 'stage')}",
                "{{stage}}",
            ),
        ),
        _panel(
            "Oldest record without acknowledgement",
            "s",
            ("max by (instance) (ingest_transport_pending_age_seconds{@})", "{{instance}}"),
        ),
    ),
    "Kafka and the spool": (
        _panel(
            "Storing, and past the broker",
            "short",
            ("min by (instance) (ingest_transport_ok{@})", "{{instance}} stores"),
            ("sum by (instance) (ingest_breaker_open{@})", "{{instance}} spools"),
        ),
        _panel("Records of spools", "short", ("sum by (state) (ingest_spool_records{@})", "{{state}}")),
        _panel("Size of spools", "bytes", ("sum by (instance) (ingest_spool_bytes{@})", "{{instance}}")),
        _panel("Oldest in a spool", "s", ("max by (instance) (ingest_spool_oldest_age_seconds{@})", "{{instance}}")),
        _panel("Batches not stored", "cps", (_rate("ingest_publish_failures_total", "reason"), "{{reason}}")),
        _panel("Trips of the breaker", "cps", (_rate("ingest_breaker_trips_total", "instance"), "{{instance}}")),
    ),
    "Consumers and rows": (
        _panel("Records not taken yet", "short", ("sum by (topic) (ingest_consumer_lag_records{@})", "{{topic}}")),
        _panel("Behind", "s", ("max by (topic) (ingest_consumer_oldest_age_seconds{@})", "{{topic}}")),
        _panel("Records done", "cps", (_rate("ingest_consumer_records_done_total", "topic"), "{{topic}}")),
        _panel("Rows", "cps", (_rate("ingest_persist_rows_total", "result"), "{{result}}")),
        _panel("Dead letters", "cps", (_rate("ingest_consumer_records_set_aside_total", "topic"), "{{topic}}")),
        _panel(
            "Away",
            "short",
            ("max by (instance, dependency) (ingest_dependency_away{@})", "{{instance}} {{dependency}}"),
            ("max by (topic) (ingest_consumer_away{@})", "{{topic}}"),
        ),
    ),
    "Forwarding": (
        _panel("Outcomes", "cps", (_rate("ingest_forward_outcomes_total", "platform, fate"), "{{platform}} {{fate}}")),
        _panel(
            "Not sent, by reason",
            "cps",
            (_rate("ingest_forward_outcomes_total", "platform, reason", 'fate!="sent", '), "{{platform}} {{reason}}"),
        ),
        _panel("Parked", "short", ("sum(ingest_forward_parked_records{@})", "parked")),
        _panel(
            "Destinations that are not healthy",
            "short",
            (
                'max by (app, platform, state) (ingest_forward_destination_state{state!="healthy", @}) > 0',
                "{{app}} {{platform}} {{state}}",
            ),
        ),
        _panel(
            "Since the last success",
            "s",
            (
                "time() - max by (app, platform) (ingest_forward_last_success_timestamp_seconds{@})",
                "{{app}} {{platform}}",
            ),
        ),
        _panel("Conversions stored", "cps", (_rate("ingest_conversions_total", "platform"), "{{platform}}")),
    ),
    "Being told": (
        _panel("Messages undelivered", "short", ("max(ingest_outbox_undelivered_messages{@})", "undelivered")),
        _panel("Oldest message", "s", ("max(ingest_outbox_oldest_age_seconds{@})", "oldest")),
        _panel(
            "Deliveries",
            "cps",
            (_rate("ingest_notify_deliveries_total", "recipient, result"), "{{recipient}} {{result}}"),
        ),
    ),
    "Resources": (
        _panel(
            "Processor",
            "percentunit",
            (_rate("ingest_process_cpu_seconds_total", "process, instance"), "{{process}} {{instance}}"),
        ),
        _panel(
            "Memory",
            "bytes",
            ("sum by (process, instance) (ingest_process_resident_bytes{@})", "{{process}} {{instance}}"),
        ),
        _panel("Versions", "short", ("count by (version, process) (ingest_build_info{@})", "{{process}} {{version}}")),
        _panel(
            "Problems",
            "short",
            ("max by (instance) (ingest_registry_problems{@})", "{{instance}} registry"),
            ("max by (instance) (ingest_geo_problems{@})", "{{instance}} geo files"),
            ("max by (instance) (ingest_tls_problems{@})", "{{instance}} certificate"),
            ("sum by (instance) (ingest_counters_local{@})", "{{instance}} without Valkey"),
        ),
        _panel(
            "Calls that Valkey did not answer",
            "cps",
            (_rate("ingest_cache_failures_total", "instance"), "{{instance}}"),
        ),
        _panel(
            "Left out of logs",
            "cps",
            (_rate("ingest_log_fields_dropped_total", "instance"), "{{instance}} fields"),
            (_rate("ingest_request_log_dropped_total", "instance"), "{{instance}} requests"),
        ),
    ),
}


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana reads it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS.items():
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "gridPos": _place(0, top, 24, 1)})
        top += 1
        for number, panel in enumerate(row):
            line, column = divmod(number, COLUMNS)
            place = _place(column * WIDTH, top + line * HEIGHT, WIDTH, HEIGHT)
            panels.append(_lines(panel, len(panels) + 1, place))
        top += -(-len(row) // COLUMNS) * HEIGHT
    return {
        "uid": "ingest-edge",
        "title": "Ingest",
        "tags": ["ingest"],
        "timezone": "utc",
        "refresh": "30s",
        "schemaVersion": 39,
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_source(), _instance()]},
        "panels": panels,
    }


def _place(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


def _lines(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    targets = [
        {
            "refId": chr(ord("A") + index),
            "datasource": _SOURCE,
            "expr": query.expression.replace("@", _OF),
            "legendFormat": query.legend,
        }
        for index, query in enumerate(panel.queries)
    ]
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": targets,
    }


def _source() -> dict[str, Any]:
    return {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}


def _instance() -> dict[str, Any]:
    return {
        "name": "instance",
        "type": "query",
        "label": "Process",
        "datasource": _SOURCE,
        "query": 'label_values(ingest_build_info{job="ingest"}, instance)',
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
    }


def main(arguments: list[str]) -> None:
    """Write where the first argument says."""
    path = Path(arguments[0]) if arguments else PATH
    path.write_text(json.dumps(dashboard(), indent=2) + "\n", encoding="utf-8")
    print(f"wrote {path}")


if __name__ == "__main__":
    main(sys.argv[1:])
