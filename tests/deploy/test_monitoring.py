"""Alerts and dashboard ask for what the service shows, in PromQL that parses, and every alert is explained."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import promql_parser
import pytest
import yaml

from ingest.telemetry.catalog import BY_NAME
from ingest.telemetry.metric import OTHER, Kind, Metric, Process
from tests.test_docs import anchors, text_of
from tools.dashboard import PATH, dashboard, main

ROOT: Final = Path(__file__).resolve().parent.parent.parent
ALERTS: Final = ROOT / "deploy" / "prometheus" / "alerts.yaml"
TARGET_LABELS: Final = {"job", "instance", "process"}
"""What a scrape adds, as docs/operations.md shows it."""

RULES: Final[list[dict[str, Any]]] = [
    rule for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]
]
VARIABLES: Final = {"$__rate_interval": "5m", "$instance": ".*"}


def panels() -> list[dict[str, Any]]:
    """Return the panels that show something."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[str]:
    """Yield every expression of alerts and dashboard, with values in place of Grafana's variables."""
    yield from (rule["expr"] for rule in RULES)
    for panel in panels():
        for target in panel["targets"]:
            text = target["expr"]
            for name, value in VARIABLES.items():
                text = text.replace(name, value)
            yield text


EXPRESSIONS: Final = list(expressions())


def parts(expression: str) -> list[Any]:
    """Return all parts of an expression. Raises where it is no PromQL."""
    found: list[Any] = []
    promql_parser.walk(promql_parser.parse(expression), found.append)
    return found


def metric_of(name: str) -> tuple[Metric, set[str]]:
    """Return the metric that a series belongs to, with all labels of the series."""
    own = name
    for suffix in ("_bucket", "_sum", "_count"):
        if name.removesuffix(suffix) in BY_NAME and BY_NAME[name.removesuffix(suffix)].kind is Kind.HISTOGRAM:
            own = name.removesuffix(suffix)
    metric = BY_NAME[own]
    assert (metric.kind is Kind.HISTOGRAM) == (own != name), f"{name} is shown in buckets"
    labels = {label.name for label in metric.labels} | TARGET_LABELS | ({"le"} if name.endswith("_bucket") else set())
    return metric, labels


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_what_is_asked_is_declared(expression: str) -> None:
    """Every metric, label and value that an expression names is in the catalogue; `up` is Prometheus's own."""
    found = parts(expression)
    selectors = [each for each in found if isinstance(each, promql_parser.VectorSelector)]
    known: set[str] = set()

    assert selectors
    for selector in selectors:
        if selector.name == "up":
            known |= TARGET_LABELS
            continue
        metric, labels = metric_of(str(selector.name))
        known |= labels
        values = {label.name: label for label in metric.labels}
        for matcher in selector.matchers.matchers:
            assert matcher.name in labels, f"{matcher.name} of {selector.name}"
            label = values.get(matcher.name)
            if label is not None and not label.bound:
                assert set(matcher.value.split("|")) <= {*label.values, OTHER}, f"{matcher} of {selector.name}"
    for each in found:
        if isinstance(each, promql_parser.AggregateExpr) and each.modifier is not None:
            assert set(each.modifier.labels) <= known, expression


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_what_grows_is_asked_for_its_rate_and_a_state_is_not(expression: str) -> None:
    """The rate of a gauge tells nothing, and neither does a counter by itself."""
    found = parts(expression)
    calls = [each for each in found if isinstance(each, promql_parser.Call)]
    rated = [each.args[0].vector_selector.name for each in calls if each.func.name in {"rate", "increase"}]
    named = {each.name or "" for each in found if isinstance(each, promql_parser.VectorSelector)}

    assert all(metric_of(name)[0].kind is not Kind.GAUGE for name in rated)
    assert all(metric_of(name)[0].kind is Kind.GAUGE for name in named - {*rated, "up"})


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_tells_what_it_means_and_where_to_read_on(rule: dict[str, Any]) -> None:
    """Each has a summary, a meaning, a severity, and a section that tells what to do."""
    notes = rule["annotations"]
    page, _, anchor = notes["runbook"].partition("#")

    assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
    assert set(notes) == {"summary", "meaning", "runbook"}
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert anchor == rule["alert"].lower()
    assert anchor in anchors(text_of(Path(page)))


def test_every_section_has_its_alert_and_says_what_to_do() -> None:
    """No section is left over of an alert that is gone, and none is without advice."""
    text = text_of(Path("docs/alerts.md"))
    sections = dict(re.findall(r"^### (Ingest\w+)\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))

    assert list(sections) == [rule["alert"] for rule in RULES]
    assert [name for name, section in sections.items() if "**Do:**" not in section] == []


def test_prometheus_takes_the_alerts() -> None:
    """Where `promtool` is installed it has the last word; each name stands once in any case."""
    names = [rule["alert"] for rule in RULES]
    program = shutil.which("promtool")
    if program is not None:
        subprocess.run([program, "check", "rules", str(ALERTS)], check=True, capture_output=True)

    assert len(set(names)) == len(names)


def test_the_dashboard_is_what_the_tool_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody changes the file by hand."""
    main([str(tmp_path / "ingest.json")])

    assert json.loads(PATH.read_text(encoding="utf-8")) == dashboard()
    assert (tmp_path / "ingest.json").read_bytes() == PATH.read_bytes()
    assert capsys.readouterr().out.startswith("wrote ")


def test_panels_do_not_overlap_and_legends_name_labels_that_are_kept() -> None:
    """Every line of a panel has a name of its own."""
    places: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        box = panel["gridPos"]
        cells = {(x, y) for x in range(box["x"], box["x"] + box["w"]) for y in range(box["y"], box["y"] + box["h"])}
        assert not cells & places
        places |= cells
    for panel in panels():
        for target in panel["targets"]:
            kept = {label for group in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in group.split(", ")}
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept


def test_every_process_is_on_the_dashboard() -> None:
    """There is a panel of figures that only this process shows."""
    shown = "\n".join(expressions())

    for process in Process:
        own = [name for name, metric in BY_NAME.items() if metric.processes == {process}]
        assert any(name in shown for name in own), process
