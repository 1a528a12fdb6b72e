"""What the rest of the house knows of a transport: two small interfaces and the data that crosses them."""

import enum
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ingest.event import Record

SCHEMA = (("schema", b"event/1"),)
"""Headers of every event record: the schema by which a consumer reads the value."""


class Topic(enum.StrEnum):
    """The topics by their meaning; a transport adds the prefix of `INGEST_TOPIC_PREFIX` on the wire."""

    EVENTS = "events"
    FORWARD = "forward"
    FORWARD_PARKED = "forward-parked"
    USER_PROPERTIES = "user-properties"
    CONSENT = "consent"
    SKAN = "skan"
    CLICKS = "clicks"
    ERASURES = "erasures"
    DEAD_LETTERS = "dead-letters"


class Stored(enum.StrEnum):
    """The promise behind a 2xx answer."""

    REPLICATED = "replicated"  # acknowledged by Kafka with acks=all
    SPOOLED = "spooled"  # fsynced in the local log


class Unavailable(Exception):  # noqa: N818 - named for what the caller can do about it
    """The records were not stored, or it is not known that they were: nothing may be acknowledged. Worth a retry."""


class RecordTooLarge(ValueError):  # noqa: N818 - as above
    """A record can never be stored, whatever the state of the transport. A retry cannot help."""


class Health(NamedTuple):
    """Whether records are being stored, and in `reason` why not; empty when all is well.

    What was found lost at the start is told in `reason` too, with `ok` true. `pending_age_ms` is the age of the
    oldest record that waits for its acknowledgement, 0 when none waits.
    """

    ok: bool
    reason: str
    pending_records: int
    pending_age_ms: int


class SpoolState(NamedTuple):
    """The spools that a process holds, in records over the life of their files.

    stored = drained + waiting + set aside + erased. `oldest_age_ms` is the age of the oldest record that waits,
    `breaker_open` tells that new records go there.
    """

    stored: int = 0
    drained: int = 0
    waiting: int = 0
    set_aside: int = 0
    bytes_used: int = 0
    oldest_age_ms: int = 0
    breaker_open: bool = False
    trips: int = 0
    erased: int = 0


class Publisher(Protocol):
    """Takes encoded records and answers only once their promise holds. One event loop calls all methods."""

    async def start(self) -> None:
        """Make ready to publish, creating or checking the topics.

        Raises `ConfigurationError` where the transport is there but may not be used as it is set up. A transport that
        is away for now is no error: it is tried again in the background, and `publish` raises `Unavailable` meanwhile.
        """

    async def publish(self, topic: Topic, records: Sequence[Record], timestamp_ms: int) -> Stored:
        """Store all `records`, in this order per key, stamped with `timestamp_ms` (Unix time of receipt).

        Returns what was promised for every one of them. Raises `Unavailable` within the ack deadline when at least one
        is not known to be stored; some of them may be (delivery is at least once), so the caller acknowledges none.
        Cancelling the wait does not withdraw the records.
        """

    def health(self) -> Health:
        """Tell the present state without waiting."""

    async def close(self) -> None:
        """Store what was published before, then release everything. No `publish` may follow; repeating is a no-op."""


class ConfigurationError(Exception):
    """The transport is reachable but may not be used as configured; the message is for the operator."""


class Delivered(NamedTuple):
    """One record as a consumer gets it.

    `offset` grows by one per record within a topic and partition, without gaps but for records lost, deleted or
    erased.
    `timestamp_ms` is the Unix time at which the store took it, not earlier than its receipt.
    """

    topic: Topic
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


class Source(Protocol):
    """Hands out the records of one topic to one consumer group, each at least once, in order within a partition."""

    async def start(self) -> None:
        """Begin at the group's committed position, or at the oldest record where there is none."""

    async def poll(self, records_max: int, wait_ms: int) -> Sequence[Delivered]:
        """Return the next 1 to `records_max` records, or none when `wait_ms` passed without any.

        Raises `Unavailable` where the transport cannot be read for now, `ConfigurationError` where a key is missing.
        """

    async def commit(self) -> None:
        """Remember durably that everything handed out so far is done: a later start continues behind it.

        Where others of the group took over what was handed out, nothing is remembered and no error raised: it is handed
        out again, to them. Raises `Unavailable` where it could not be remembered for now.
        """

    async def lag_records(self) -> int | None:
        """Return how many records this consumer has still to take, None where that cannot be told for now.

        It counts offsets, so records that were deleted or erased in between count as well.
        """

    async def close(self) -> None:
        """Release everything. What was handed out and not committed is handed out again."""
