"""The metrics of the processes behind the edge; part of the catalogue."""

from typing import Final

from ingest.telemetry.metric import BACKGROUND, CONSUMERS, OTHER, Kind, Label, Merge, Metric, Process

TOPIC: Final = Label(
    "topic",
    (
        "events",
        "forward",
        "forward-parked",
        "user-properties",
        "consent",
        "skan",
        "clicks",
        "erasures",
        "dead-letters",
    ),
)
APP: Final = Label(
    "app",
    bound=f"ids of registered apps, for at most 10000 series; `{OTHER}` for the rest, and for apps that are unknown",
)
PLATFORM: Final = Label("platform", ("meta", "tiktok"))
REASON: Final = Label(
    "reason",
    (
        "",
        "app_unknown",
        "platform_off",
        "erased",
        "consent_denied",
        "consent_missing",
        "too_old",
        "in_future",
        "no_value",
        "no_currency",
        "no_user",
        "no_page",
        "no_app",
        "too_large",
        "parked_too_long",
        "parked_full",
        OTHER,
    ),
    bound="codes of the platforms, at most 200",
)

_PERSIST: Final = frozenset({Process.PERSIST})
_NOTIFY: Final = frozenset({Process.NOTIFY})
_FORWARD: Final = frozenset({Process.FORWARD})

BACKGROUND_METRICS: Final = (
    Metric(
        "ingest_dependency_away",
        Kind.GAUGE,
        "1 or 0",
        "1 while something that the process needs does not answer.",
        (Label("dependency", ("database", "transport")),),
        processes=BACKGROUND,
    ),
    Metric(
        "ingest_consumer_records_taken_total",
        Kind.COUNTER,
        "records",
        "Records taken from the transport; those that were handed out again count again.",
        (TOPIC,),
        processes=CONSUMERS,
    ),
    Metric(
        "ingest_consumer_records_done_total",
        Kind.COUNTER,
        "records",
        "Records that are done with, and remembered as such.",
        (TOPIC,),
        processes=CONSUMERS,
    ),
    Metric(
        "ingest_consumer_records_set_aside_total",
        Kind.COUNTER,
        "records",
        "Records that can never be used, set aside as dead letters.",
        (TOPIC,),
        processes=CONSUMERS,
    ),
    Metric(
        "ingest_consumer_away",
        Kind.GAUGE,
        "1 or 0",
        "1 while no record gets on, because the transport or the database is away.",
        (TOPIC,),
        processes=CONSUMERS,
    ),
    Metric(
        "ingest_consumer_oldest_age_seconds",
        Kind.GAUGE,
        "seconds",
        "Age of the oldest record at hand, 0 where there is none: how far behind the topic this is.",
        (TOPIC,),
        processes=CONSUMERS,
    ),
    Metric(
        "ingest_consumer_lag_records",
        Kind.GAUGE,
        "records",
        "Records of this process's partitions that it has not taken yet; without a value where that is not known.",
        (TOPIC,),
        processes=CONSUMERS,
    ),
    Metric(
        "ingest_persist_rows_total",
        Kind.COUNTER,
        "rows",
        "Rows of events by what became of them: new, there already, or refused because somebody is erased.",
        (Label("result", ("inserted", "repeated", "erased")),),
        processes=_PERSIST,
    ),
    Metric(
        "ingest_outbox_undelivered_messages",
        Kind.GAUGE,
        "messages",
        "Messages about kill switches that have not been delivered yet, each counted for each of its recipients.",
        processes=_NOTIFY,
    ),
    Metric(
        "ingest_notify_deliveries_total",
        Kind.COUNTER,
        "attempts",
        "Attempts to deliver a message, by recipient and result.",
        (Label("recipient", ("support", "organization")), Label("result", ("delivered", "failed"))),
        processes=_NOTIFY,
    ),
    Metric(
        "ingest_forward_outcomes_total",
        Kind.COUNTER,
        "conversions",
        "What became of conversions at each platform, and why; what waits has no outcome yet.",
        (APP, PLATFORM, Label("fate", ("sent", "skipped", "refused", "expired")), REASON),
        processes=_FORWARD,
    ),
    Metric(
        "ingest_forward_destination_state",
        Kind.GAUGE,
        "1 or 0",
        f"1 for the state that a destination is in; for `{OTHER}` how many are.",
        (APP, PLATFORM, Label("state", ("healthy", "degraded", "paused"))),
        processes=_FORWARD,
    ),
    Metric(
        "ingest_forward_last_success_timestamp_seconds",
        Kind.GAUGE,
        "Unix seconds",
        f"When a destination last took something, without a value where it never did; for `{OTHER}` the earliest.",
        (APP, PLATFORM),
        merge=Merge.MIN,
        processes=_FORWARD,
    ),
    Metric(
        "ingest_forward_parked_records",
        Kind.GAUGE,
        "records",
        "Conversions that wait to be tried again.",
        processes=_FORWARD,
    ),
)
