import os
import re

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ingest.conversion import Platform
from ingest.outcome import Fault, RejectionCode
from ingest.telemetry.catalog import NO_CODE, RefusalReason, metrics_of
from ingest.telemetry.exposition import Tally, expose, merge
from ingest.telemetry.metric import Process
from ingest.telemetry.metrics import Figures
from ingest.telemetry.snapshot import Snapshot, decode, encode
from ingest.transport.contract import Stored
from normalize.notes import Note

Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Unheard(msgspec.Struct, frozen=True):
    """A rejection with a reason of its own."""

    code: str


def parsed(snapshot: Snapshot) -> Values:
    """Expose figures of the edge and read them as Prometheus would."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(expose(snapshot, Process.EDGE).decode())
        for sample in family.samples
    }


def value(values: Values, name: str, **labels: str) -> float:
    """Return one value of an exposition."""
    return values[name, frozenset(labels.items())]


def busy(requests: int = 1) -> Figures:
    """Return the figures of a worker that has seen one kind of everything."""
    figures = Figures()
    fault = Fault(RejectionCode.MISSING_FIELD, "missing")
    for _ in range(requests):
        figures.request("/events", 202, NO_CODE, 0.003)
        figures.body(100, 400)
        figures.stages(0.1, 0.2, 0.3, 0.4)
        figures.batch(6, Stored.SPOOLED, accepted=3, duplicates=2, rejected=[fault], notes=[Note.TEXT_SCRUBBED] * 2)
        figures.routed({Platform.META: 2, Platform.TIKTOK: 1})
        figures.refused(RefusalReason.MALFORMED)
        figures.publish_failed("unavailable")
    return figures


def test_every_metric_is_exposed() -> None:
    """What is declared appears under its name, of its kind, with its meaning, also before anything happened."""
    figures = Figures()
    figures.request("/events", 202, NO_CODE, 0.0)
    families = {
        family.name: family
        for family in text_string_to_metric_families(expose(figures.snapshot(), Process.EDGE).decode())
    }

    for metric in metrics_of(Process.EDGE):
        family = families[metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, metric.meaning)
        assert family.samples


# One worker


def test_what_is_counted_is_exposed() -> None:
    """Each call of the hot path shows in its metrics."""
    values = parsed(busy(2).snapshot())

    assert value(values, "ingest_requests_total", route="/events", status="202", code="none") == 2
    assert value(values, "ingest_request_bytes_total", kind="wire") == 200
    assert value(values, "ingest_request_bytes_total", kind="inflated") == 800
    assert value(values, "ingest_stage_seconds_total", stage="process") == pytest.approx(0.6)
    assert value(values, "ingest_stage_calls_total", stage="publish") == 2
    assert value(values, "ingest_events_received_total") == 12
    assert value(values, "ingest_events_total", outcome="accepted") == 6
    assert value(values, "ingest_events_total", outcome="duplicate") == 4
    assert value(values, "ingest_events_total", outcome="rejected") == 2
    assert value(values, "ingest_events_rejected_total", code="MISSING_FIELD") == 2
    assert value(values, "ingest_events_stored_total", stored="spooled") == 6
    assert value(values, "ingest_conversions_total", platform="meta") == 4
    assert value(values, "ingest_conversions_total", platform="tiktok") == 2
    assert value(values, "ingest_notes_total", note="text_scrubbed") == 4
    assert value(values, "ingest_connections_refused_total", reason="malformed") == 2
    assert value(values, "ingest_publish_failures_total", reason="unavailable") == 2


def test_a_histogram_counts_up_to_each_bound() -> None:
    """A value on a bound belongs to its bucket, one above all bounds only to the infinite one."""
    figures = Figures()
    for seconds in (0.0005, 0.001, 0.0011, 99.0):
        figures.request("/health", 200, NO_CODE, seconds)
    values = parsed(figures.snapshot())

    def bucket(bound: str) -> float:
        return value(values, "ingest_request_seconds_bucket", route="/health", le=bound)

    assert [bucket(bound) for bound in ("0.001", "0.0025", "10.0", "+Inf")] == [2, 3, 3, 4]
    assert value(values, "ingest_request_seconds_count", route="/health") == 4
    assert value(values, "ingest_request_seconds_sum", route="/health") == pytest.approx(99.0026)


def test_labels_stay_bounded_whatever_is_counted() -> None:
    """Values that are not declared are counted as `other` and make no new series."""
    figures = Figures()
    for number in range(100):
        figures.request(f"/users/{number}", 600 + number, f"CODE_{number}", 0.1)
        figures.batch(1, None, accepted=0, duplicates=0, rejected=[Unheard("OF")], notes=[f"note_{number}"])
        figures.publish_failed(f"reason {number}")
    values = parsed(figures.snapshot())

    assert value(values, "ingest_requests_total", route="other", status="other", code="other") == 100
    assert value(values, "ingest_request_seconds_count", route="other") == 100
    assert value(values, "ingest_events_rejected_total", code="other") == 100
    assert value(values, "ingest_notes_total", note="other") == 100
    assert value(values, "ingest_publish_failures_total", reason="other") == 100
    assert len(values) == len(parsed(figures.snapshot()))
    assert not [name for name, _ in values if re.search(r"\d", name)]


def test_every_event_has_one_outcome_and_one_promise() -> None:
    """All received are accepted, duplicates or rejected, all accepted replicated or spooled; a gap shows."""
    figures = busy()
    snapshot = figures.snapshot()
    figures.batch(2, Stored.REPLICATED, accepted=1, duplicates=0, rejected=[], notes=[])
    figures.batch(1, None, accepted=1, duplicates=0, rejected=[], notes=[])

    assert (snapshot.unaccounted_events(), snapshot.unstored_events()) == (0, 0)
    assert (figures.snapshot().unaccounted_events(), figures.snapshot().unstored_events()) == (1, 1)


def test_the_process_is_measured() -> None:
    """Memory and CPU time are those of this process."""
    figures = Figures()
    figures.sample_process()
    first_cpu_seconds = figures.process_cpu_seconds
    figures.sample_process()

    assert 1024 * 1024 < figures.process_resident_bytes < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < first_cpu_seconds <= figures.process_cpu_seconds


# Several workers


def test_a_snapshot_travels_as_bytes() -> None:
    """Another process reads exactly the figures, and refuses anything else."""
    snapshot = busy().snapshot()

    assert snapshot == decode(encode(snapshot))
    with pytest.raises(msgspec.DecodeError):
        decode(b"\x00")


def test_figures_of_two_workers_add_up() -> None:
    """Counters and histograms are sums."""
    both = parsed(merge([busy(2).snapshot(), busy(3).snapshot()]))
    one = parsed(busy(5).snapshot())
    counted = [key for key in one if key[0].startswith(("ingest_events", "ingest_requests", "ingest_request_seconds"))]

    assert counted
    assert {key: both[key] for key in counted} == pytest.approx({key: one[key] for key in counted})


def test_gauges_of_two_workers_become_what_each_means() -> None:
    """Connections are a sum, the oldest wait is the longest, and the transport is well only if it is for both."""
    one, other = Figures(), Figures()
    one.connections, other.connections = 3, 4
    one.transport_pending_age_seconds, other.transport_pending_age_seconds = 0.5, 2.5
    one.transport_ok, other.transport_ok = 1, 0
    one.registry_apps, other.registry_apps = 7, 7
    one.registry_loaded_timestamp_seconds, other.registry_loaded_timestamp_seconds = 20.0, 10.0
    both = merge([one.snapshot(), other.snapshot()])

    assert both.value("ingest_connections") == 7
    assert both.value("ingest_transport_pending_age_seconds") == 2.5
    assert both.value("ingest_transport_ok") == 0
    assert both.value("ingest_registry_apps") == 7
    assert both.value("ingest_registry_loaded_timestamp_seconds") == 10.0
    assert both.total("ingest_build_info") == 1


def counters(snapshot: Snapshot) -> Values:
    """Return what must never go back."""
    return {key: each for key, each in parsed(snapshot).items() if key[0].endswith(("_total", "_bucket"))}


def test_counters_never_go_back_when_a_worker_is_replaced() -> None:
    """What an ended worker counted stays, its gauges go, and its successor's figures come on top."""
    tally = Tally()
    old = busy(5)
    old.connections = 9
    tally.begin(1)
    tally.update(1, old.snapshot())
    before = tally.present()
    tally.end(1)
    between = tally.present()
    tally.begin(2)
    tally.update(2, busy(1).snapshot())
    after = tally.present()

    assert before.value("ingest_connections") == 9
    assert between.value("ingest_connections") == after.value("ingest_connections") == 0
    assert counters(before) == counters(between)
    assert all(counters(after)[key] >= each for key, each in counters(before).items())
    assert after.value("ingest_events_received_total") == 36


def test_the_newest_snapshot_of_a_worker_replaces_its_last() -> None:
    """A worker that is asked twice is not counted twice."""
    tally = Tally()
    tally.begin(1)
    tally.update(1, busy(1).snapshot())
    tally.update(1, busy(2).snapshot())

    assert tally.present().value("ingest_events_received_total") == 12


def test_a_snapshot_after_the_end_of_its_worker_counts_for_nothing() -> None:
    """What was kept at a worker's end is final, so that nothing is counted twice."""
    tally = Tally()
    tally.begin(1)
    tally.update(1, busy(2).snapshot())
    tally.end(1)
    tally.update(1, busy(3).snapshot())
    tally.end(1)

    assert tally.present().value("ingest_events_received_total") == 12
