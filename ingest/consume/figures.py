"""What consumers count, in the form in which it is shown."""

from collections.abc import Iterator

from ingest.clock import Clock
from ingest.consume.lanes import Lanes
from ingest.telemetry.snapshot import Sample


def lane_samples(lanes: Lanes, clock: Clock) -> Iterator[Sample]:
    """Yield the figures of all lanes, as they are now."""
    now_ms = clock.now_ms()
    for lane in lanes:
        loop, labels = lane.loop, (lane.topic.value,)
        oldest_ms = now_ms if loop.working_at_ms is None else min(now_ms, loop.working_at_ms)
        yield Sample("ingest_consumer_records_taken_total", labels, loop.taken)
        yield Sample("ingest_consumer_records_done_total", labels, loop.done)
        yield Sample("ingest_consumer_records_set_aside_total", labels, loop.poisoned)
        yield Sample("ingest_consumer_away", labels, int(loop.away))
        yield Sample("ingest_consumer_oldest_age_seconds", labels, (now_ms - oldest_ms) / 1000)
        records = lanes.lag(lane.topic)
        if records is not None:
            yield Sample("ingest_consumer_lag_records", labels, records)
