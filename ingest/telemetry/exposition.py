"""Puts the figures of all workers together, and shows them in the text format of Prometheus."""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from ingest.telemetry.catalog import BY_NAME, METRICS, metrics_of
from ingest.telemetry.metric import Kind, Merge, Metric, Process
from ingest.telemetry.snapshot import Distribution, Sample, Scalar, Snapshot


def merge(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Return one snapshot for several: counters and histograms added up, gauges as each is declared."""
    values: dict[tuple[str, tuple[str, ...]], Scalar] = {}
    distributions: dict[tuple[str, tuple[str, ...]], Distribution] = {}
    for snapshot in snapshots:
        for sample in snapshot.samples:
            key = (sample.metric, sample.labels)
            values[key] = _join(BY_NAME[sample.metric], values[key], sample.value) if key in values else sample.value
        for each in snapshot.distributions:
            key = (each.metric, each.labels)
            distributions[key] = _add(distributions[key], each) if key in distributions else each
    samples = tuple(Sample(metric, labels, value) for (metric, labels), value in values.items())
    return Snapshot(samples, tuple(distributions.values()))


def _join(metric: Metric, left: Scalar, right: Scalar) -> Scalar:
    match metric.merge:
        case Merge.SUM:
            return left + right
        case Merge.MAX:
            return max(left, right)
        case Merge.MIN:
            return min(left, right)


def _add(left: Distribution, right: Distribution) -> Distribution:
    buckets = tuple(a + b for a, b in zip(left.buckets, right.buckets, strict=True))
    return Distribution(left.metric, left.labels, buckets, left.total + right.total)


class Tally:
    """The figures of all workers of one server, of those that have ended too, so that no counter ever goes back.

    A worker is known by its incarnation: a number that is used once, also where a worker takes another's place.
    """

    def __init__(self) -> None:
        self._present: dict[int, Snapshot] = {}
        self._past = Snapshot()

    def begin(self, incarnation: int) -> None:
        """Expect snapshots of a worker that has started."""
        self._present[incarnation] = Snapshot()

    def update(self, incarnation: int, snapshot: Snapshot) -> None:
        """Take a worker's newest snapshot in the place of its last; one after the worker's end is dropped."""
        if incarnation in self._present:
            self._present[incarnation] = snapshot

    def end(self, incarnation: int) -> None:
        """Keep what a worker counted; its gauges go with it. A second call is a no-op."""
        last = self._present.pop(incarnation, None)
        if last is not None:
            self._past = merge((self._past, _counted(last)))

    def present(self) -> Snapshot:
        """Return everything as one snapshot."""
        return merge((self._past, *self._present.values()))


def _counted(snapshot: Snapshot) -> Snapshot:
    counters = tuple(each for each in snapshot.samples if BY_NAME[each.metric].kind is Kind.COUNTER)
    return Snapshot(counters, snapshot.distributions)


def expose(snapshot: Snapshot, process: Process) -> bytes:
    """Return the figures of a process in the text format of Prometheus, version 0.0.4, in the order of the catalog."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(snapshot, process))
    return generate_latest(registry)


class _Families(Collector):
    """Hands a snapshot to prometheus_client, which knows how to write it."""

    def __init__(self, snapshot: Snapshot, process: Process) -> None:
        self._snapshot = snapshot
        self._process = process

    def collect(self) -> Iterator[Family]:
        """Return the metric families, each with its values."""
        samples: dict[str, list[Sample]] = {metric.name: [] for metric in METRICS}
        for sample in self._snapshot.samples:
            samples[sample.metric].append(sample)
        for metric in metrics_of(self._process):
            yield _histogram(metric, self._snapshot) if metric.kind is Kind.HISTOGRAM else _plain(metric, samples)


def _plain(metric: Metric, samples: dict[str, list[Sample]]) -> Family:
    make = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = make(metric.name, metric.meaning, labels=_label_names(metric))
    for sample in samples[metric.name]:
        family.add_metric(sample.labels, sample.value)
    return family


def _histogram(metric: Metric, snapshot: Snapshot) -> Family:
    family = HistogramMetricFamily(metric.name, metric.meaning, labels=_label_names(metric))
    for each in snapshot.distributions:
        if each.metric == metric.name:
            family.add_metric(each.labels, _cumulative(each), each.total)
    return family


def _label_names(metric: Metric) -> list[str]:
    return [label.name for label in metric.labels]


def _cumulative(distribution: Distribution) -> list[tuple[str, float]]:
    bounds = [*map(str, BY_NAME[distribution.metric].bounds), "+Inf"]
    counts: list[tuple[str, float]] = []
    below = 0
    for bound, count in zip(bounds, distribution.buckets, strict=True):
        below += count
        counts.append((bound, below))
    return counts
