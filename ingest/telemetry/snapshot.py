"""The figures of one worker at one moment, in the form in which they travel to where all are put together."""

from typing import NamedTuple

import msgspec

Scalar = int | float


class Sample(NamedTuple):
    """The value of a counter or gauge for one set of label values, in the order in which its labels are declared."""

    metric: str
    labels: tuple[str, ...]
    value: Scalar


class Distribution(NamedTuple):
    """A histogram for one set of label values: counts per bucket, the infinite one last, and the sum of values."""

    metric: str
    labels: tuple[str, ...]
    buckets: tuple[int, ...]
    total: float


class Snapshot(msgspec.Struct, frozen=True):
    """The figures of one worker, or of several put together."""

    samples: tuple[Sample, ...] = ()
    distributions: tuple[Distribution, ...] = ()

    def value(self, metric: str, *labels: str) -> Scalar:
        """Return one value, 0 where nothing has been counted."""
        return sum(each.value for each in self.samples if each.metric == metric and each.labels == labels)

    def total(self, metric: str) -> Scalar:
        """Return the sum of one metric over all its labels."""
        return sum(each.value for each in self.samples if each.metric == metric)

    def unaccounted_events(self) -> Scalar:
        """Return received - (accepted + duplicates + rejected): anything but 0 is a bug."""
        return self.total("ingest_events_received_total") - self.total("ingest_events_total")

    def unstored_events(self) -> Scalar:
        """Return accepted - (replicated + spooled): anything but 0 is a bug."""
        return self.value("ingest_events_total", "accepted") - self.total("ingest_events_stored_total")


def encode(snapshot: Snapshot) -> bytes:
    """Return a snapshot as bytes for another process."""
    return msgspec.msgpack.encode(snapshot)


def decode(encoded: bytes) -> Snapshot:
    """Return what `encode` was given. Raises `msgspec.DecodeError` for anything else."""
    return msgspec.msgpack.decode(encoded, type=Snapshot)
