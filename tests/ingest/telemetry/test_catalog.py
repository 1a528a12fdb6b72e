"""The catalogue of metrics: what it declares, which process shows it, and its page."""

import re
from pathlib import Path

import pytest

from ingest.conversion import Platform
from ingest.errors import Code
from ingest.forward.destination import State
from ingest.forward.outcome import Fate, Skip
from ingest.forward.park import NO_ROOM, TOO_LATE
from ingest.outcome import RejectionCode
from ingest.persist.writer import Written
from ingest.pipeline.identify import UNEXPECTED_TYPE
from ingest.pipeline.process import SURROGATE_REPLACED
from ingest.telemetry.catalog import BY_NAME, METRICS, NO_CODE, RefusalReason, metrics_of, render_markdown
from ingest.telemetry.exposition import expose
from ingest.telemetry.metric import Kind, Label, Merge, Process
from ingest.telemetry.snapshot import Snapshot
from ingest.transport.contract import Stored, Topic
from normalize.notes import Note


def test_the_committed_page_is_current() -> None:
    """`docs/metrics.md` is what the table says."""
    page = Path(__file__).parents[3] / "docs" / "metrics.md"

    assert page.read_text(encoding="utf-8") == render_markdown()


def test_every_metric_is_declared_as_prometheus_wants_it() -> None:
    """Names are unique and well formed, counters and only they end in `_total`, and every meaning is a sentence."""
    names = [metric.name for metric in METRICS]

    assert len(names) == len(set(names))
    for metric in METRICS:
        assert re.fullmatch(r"ingest_[a-z]+(_[a-z]+)*", metric.name)
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
        assert bool(metric.bounds) == (metric.kind is Kind.HISTOGRAM)
        assert metric.bounds == tuple(sorted(metric.bounds))
        assert metric.merge is Merge.SUM or metric.kind is Kind.GAUGE
        assert metric.meaning.endswith(".")
        assert metric.unit


@pytest.mark.parametrize(
    ("metric", "label", "values"),
    [
        ("ingest_requests_total", 2, {NO_CODE, *(code.name for code in Code)}),
        ("ingest_requests_total", 1, {str(code.value.status) for code in Code}),
        ("ingest_events_rejected_total", 0, set(RejectionCode)),
        ("ingest_events_stored_total", 0, set(Stored)),
        ("ingest_connections_refused_total", 0, set(RefusalReason)),
        ("ingest_notes_total", 0, {*Note, UNEXPECTED_TYPE, SURROGATE_REPLACED}),
        ("ingest_consumer_records_done_total", 0, set(Topic)),
        ("ingest_persist_rows_total", 0, set(Written._fields)),
        ("ingest_forward_outcomes_total", 1, set(Platform)),
        ("ingest_forward_outcomes_total", 2, set(Fate)),
        ("ingest_forward_outcomes_total", 3, {"", *Skip, TOO_LATE.reason, NO_ROOM.reason}),
        ("ingest_forward_destination_state", 2, set(State)),
    ],
)
def test_label_values_cover_what_the_code_can_say(metric: str, label: int, values: set[str]) -> None:
    """Nothing that happens by design is counted as `other`."""
    assert values <= set(BY_NAME[metric].labels[label].values)


def test_every_label_is_bounded() -> None:
    """Each has its values, or a word on which they are and how many."""
    for metric in METRICS:
        assert all(label.values or label.bound for label in metric.labels), metric.name
        assert all(label.bounded("?") in {*label.values, "other"} for label in metric.labels)
    assert Label("kind", ("a", "other")).bounded("b") == "other"


@pytest.mark.parametrize("process", list(Process))
def test_a_process_shows_its_own_metrics_and_no_others(process: Process) -> None:
    """Before anything was counted its families are there already, with their meaning."""
    text = expose(Snapshot(), process).decode()
    shown = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))

    assert shown == {metric.name for metric in metrics_of(process)}
    assert {"ingest_build_info", "ingest_process_resident_bytes"} <= shown
    assert ("ingest_requests_total" in shown) == (process is Process.EDGE)


def test_every_metric_has_a_process_and_its_place_on_the_page() -> None:
    """Each metric stands in one section, below the name of the processes that show it."""
    page = render_markdown()
    sections = {heading: text for heading, _, text in (part.partition("\n") for part in page.split("\n## ")[1:])}

    for metric in METRICS:
        assert metric.processes
        assert page.count(f"| `{metric.name}` |") == 1
    assert "`ingest_persist_rows_total`" in sections["Persist"]
    assert "`ingest_consumer_away`" in sections["Persist and Forward"]
    assert "`ingest_outbox_oldest_age_seconds`" in sections["Edge and Notify"]
    assert "`ingest_build_info`" in sections["Every process"]
