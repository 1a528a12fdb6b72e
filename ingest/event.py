"""An event at each stage of its way, and the record that leaves the edge.

The stages are types of their own, so that skipping one does not type-check:

    bytes -> Decoded -> (per event) RawEvent -> ValidEvent -> Identified -> Record

From `Identified` on nothing holds a raw e-mail, phone number, address or advertising id. The one exception is the
conversion of an event, a further record, which has the advertising id where that may be handed on.
"""

from typing import Any, NewType

import msgspec

from ingest.outcome import Rejection

RECORD_VERSION = 1

JsonObject = dict[str, Any]

ValidEvent = NewType("ValidEvent", JsonObject)
"""An event whose required members have their types, and which belongs to the sender's app."""


class Decoded(msgspec.Struct):
    """A batch as it was sent.

    `events` holds one JSON value per event, or the `Fault` of an event that could not be decoded by itself. `repaired`
    are the positions in which lone surrogates became U+FFFD. `extra` are the root's other members.
    """

    events: list[Any]
    app_id: str | None
    batch_id: str | None
    sent_at: str | None
    extra: JsonObject
    repaired: frozenset[int] = frozenset()


class Identified(msgspec.Struct):
    """An event in which identifiers are digests or gone. `json` is what the record carries; `event` the same, decoded.

    `notes` are the codes of what was removed or changed.
    """

    event: JsonObject
    json: bytes
    notes: tuple[str, ...]


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One record as it goes to the wire: the partition is chosen by the key, the value is UTF-8 JSON."""

    key: bytes
    value: bytes


class Processed(msgspec.Struct):
    """What became of a batch: received = len(records) + duplicates + len(rejected).

    `conversions` are further records, of the events that go to advertising platforms; `routed` counts them by platform.
    """

    records: list[Record]
    duplicates: int
    rejected: list[Rejection]
    notes: list[str]
    conversions: list[Record] = []
    routed: dict[str, int] = {}


class Named(msgspec.Struct, frozen=True):
    """A thing with a version: an operating system, or the client that sent."""

    name: str | None
    version: str | None


class BatchMeta(msgspec.Struct, frozen=True, omit_defaults=True):
    """The members of `Meta` that all events of a batch share, in the order in which a record has them."""

    v: int
    app_id: str
    project_id: str
    organization_id: str
    received_at: str
    request_id: str
    source: str
    scheme: dict[str, str]
    sent_at: str | None = None
    batch_id: str | None = None
    country_code: str | None = None
    subdivision1_code: str | None = None
    sdk: str | None = None
    batch: JsonObject | None = None


class Meta(BatchMeta, frozen=True, kw_only=True, omit_defaults=True):
    """What the edge knows of an event. Absent members are null or left out; times are RFC 3339 text in UTC.

    `event_id` is the client's, else derived; `received_at` is the edge's clock and `sent_at` the client's, as sent.
    `country_code` is ISO 3166-1 alpha-2 and `subdivision1_code` the second part of an ISO 3166-2 code, both from the
    client's address, which is not kept. `scheme` names the versions of the normal forms behind the digests, `notes`
    tell what was removed or changed. `batch` holds the members of the batch's root that are not named here.
    """

    event_id: str
    environment: str | None = None
    os: Named | None = None
    client: Named | None = None
    notes: tuple[str, ...] = ()


class EventRecord(msgspec.Struct, frozen=True):
    """The value of a record on the `events` topic, schema `event/1`."""

    meta: Meta
    event: JsonObject
