"""What a metric is, and which process shows it."""

import enum
from typing import Final, NamedTuple

PREFIX: Final = "ingest_"
OTHER: Final = "other"
"""Stands in a label for every value that is not in its closed set."""


class Process(enum.StrEnum):
    """The processes that answer `/metrics`, by the command that runs them; `edge` is `serve`, with all its workers."""

    EDGE = "edge"
    PERSIST = "persist"
    FORWARD = "forward"
    NOTIFY = "notify"


ALL: Final = frozenset(Process)
EDGE: Final = frozenset({Process.EDGE})
BACKGROUND: Final = ALL - EDGE
CONSUMERS: Final = frozenset({Process.PERSIST, Process.FORWARD})


class Kind(enum.StrEnum):
    """What a number means: it only grows, it is a state, or it is a distribution."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Merge(enum.StrEnum):
    """How several values of one metric become one: those of several workers, or of all that `other` stands for."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"


class Label(NamedTuple):
    """A label and all its values. Of values that only the running process knows, `bound` says which and how many."""

    name: str
    values: tuple[str, ...] = ()
    bound: str = ""

    def bounded(self, value: str) -> str:
        """Return `value` if it is one of the values, else `other`."""
        return value if value in self.values else OTHER


class Metric(NamedTuple):
    """One metric. `bounds` are the upper bounds of a histogram's buckets, in its unit, without the infinite one."""

    name: str
    kind: Kind
    unit: str
    meaning: str
    labels: tuple[Label, ...] = ()
    merge: Merge = Merge.SUM
    bounds: tuple[float, ...] = ()
    processes: frozenset[Process] = EDGE

    @property
    def attribute(self) -> str:
        """The attribute of `Figures` that holds it, where the edge shows it."""
        return self.name.removeprefix(PREFIX).removesuffix("_total")
