"""What partners send and get, as types: answers are made of them, and the published description too."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal, cast

import msgspec
from msgspec import UNSET, UnsetType

from ingest.control.erasures import TOPICS_KEEP
from ingest.control.record import REASON_CHARACTERS_MAX
from ingest.counters.tiers import Tier
from ingest.db.rows import AuditEvent, Env, ErasureRow, Key, UserEvent, UserStatement
from ingest.outcome import Rejection
from ingest.partner.call import Fault
from ingest.partner.fields import TEXT
from ingest.transport.contract import Stored

EVENTS_MAX = 100
"""Events in one call."""

DATE_TIME: Final = (
    "^(?!0000)[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])[Tt ](?:[01][0-9]|2[0-3]):[0-5][0-9]"
    "(?::(?:[0-5][0-9]|60)(?:\\.[0-9]+)?)?(?:[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])?$"
)
"""What an event's time looks like; that its day is one of its month, no pattern says."""

Reason = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=REASON_CHARACTERS_MAX, extra_json_schema={"pattern": TEXT}),
]
ErasureStatus = Literal["accepted", "published", "completed"]
AnyJson = msgspec.Raw
StoredJson = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "object"})]
OccurredAt = Annotated[str, msgspec.Meta(extra_json_schema={"pattern": DATE_TIME})]


class OrganizationRef(msgspec.Struct, frozen=True, rename="camel"):
    """An organization by id and name."""

    id: str
    name: str


class WhoAmI(msgspec.Struct, frozen=True, rename="camel"):
    """The key that calls, and what it may do."""

    organization: OrganizationRef
    key_id: str
    env: Env
    scopes: list[str]
    tier: Tier


class ApiKey(msgspec.Struct, frozen=True, rename="camel"):
    """A key without its secret, which is kept nowhere. `prefix` is the part of it that may be shown."""

    id: str
    prefix: str
    env: Env
    name: str | None
    scopes: list[str]
    tier: Tier
    active: bool
    kill_switch: bool
    created_at: datetime
    rotated_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, key: Key) -> "ApiKey":
        """Return what a partner sees of a key."""
        return cls(
            id=key.id,
            prefix=f"lp_{key.env}_{key.id}",
            env=key.env,
            name=key.name,
            scopes=key.scopes,
            tier=Tier(key.tier),
            active=key.active,
            kill_switch=key.kill_switch,
            created_at=key.created_at,
            rotated_at=key.rotated_at,
            revoked_at=key.revoked_at,
        )


class ApiKeyPage(msgspec.Struct, frozen=True, rename="camel"):
    """A page of keys, oldest first; `nextCursor` is null on the last one."""

    api_keys: list[ApiKey]
    next_cursor: str | None


class ApiKeyAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """A key as it is now."""

    api_key: ApiKey


class RotatedKey(msgspec.Struct, frozen=True, rename="camel"):
    """A key with its new secret: the whole new key, shown once; null where the call is a repeat."""

    api_key: ApiKey
    secret: str | None


class KillRequest(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Why the switch is turned on; kept in the audit log and told to whom it concerns."""

    reason: Reason | None = None


class EmptyRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """There is nothing to say; the body may as well be left out."""


class AuditTarget(msgspec.Struct, frozen=True, rename="camel"):
    """What something was done to."""

    type: str
    id: str


class AuditEntry(msgspec.Struct, frozen=True, rename="camel"):
    """What was done, by whom, to what and why; `requestId` where it was done by a call."""

    id: str
    at: datetime
    actor: str
    action: str
    target: AuditTarget
    reason: str | None
    request_id: str | None
    details: dict[str, Any]

    @classmethod
    def of(cls, event: AuditEvent) -> "AuditEntry":
        """Return what a partner sees of an audit event."""
        return cls(
            id=event.id,
            at=event.at,
            actor=event.actor,
            action=event.action,
            target=AuditTarget(event.target_type, event.target_id),
            reason=event.reason,
            request_id=event.request_id,
            details=event.details,
        )


class AuditPage(msgspec.Struct, frozen=True, rename="camel"):
    """A page of the audit log, newest first; `nextCursor` is null on the last one."""

    events: list[AuditEntry]
    next_cursor: str | None


class PartnerEvent(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One event. `occurredAt` is an RFC 3339 date-time, by UTC where it names no offset; an integer has no point.

    What breaks these rules costs its own event alone, and a member of another type than told here costs nothing where
    it is `appUserId`, `properties` or `context`: it is kept, as further members are.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    occurred_at: OccurredAt
    event_id: Annotated[str, msgspec.Meta(max_length=200)] | int | None = None
    app_user_id: str | int | None = None
    properties: dict[str, Any] | None = None
    context: dict[str, Any] | None = None


class EventsRequest(msgspec.Struct, frozen=True, rename="camel"):
    """A batch of events for one app of the caller's organization."""

    project_id: Annotated[str, msgspec.Meta(min_length=1)]
    sdk_app_id: Annotated[str, msgspec.Meta(min_length=1)]
    events: Annotated[list[PartnerEvent], msgspec.Meta(min_length=1, max_length=EVENTS_MAX)]


class EventsAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """What became of a batch: `stored` is the promise for all that was accepted."""

    request_id: str
    stored: Stored
    accepted: int
    duplicates: int
    rejected: list[Rejection]


class StoredEvent(msgspec.Struct, frozen=True, rename="camel"):
    """An event as it is stored, `meta` being what the edge knows of it; `occurredAt` is the text that was sent."""

    app_id: str
    event_id: str
    name: str
    occurred_at: str
    received_at: datetime
    event: StoredJson
    meta: StoredJson

    @classmethod
    def of(cls, row: UserEvent) -> "StoredEvent":
        """Return what a partner sees of a row."""
        event, meta = msgspec.Raw(row.event), msgspec.Raw(row.meta)
        return cls(row.app_id, row.event_id, row.name, row.occurred_at, row.received_at, event, meta)


class UserProperty(msgspec.Struct, frozen=True, rename="camel"):
    """A property of a user. `idKind` tells which of the SDK's ids it belongs to."""

    name: str
    value: AnyJson
    app_id: str
    id_kind: Literal["app_user_id", "anonymous_id", "install_id"]
    set_at: datetime

    @classmethod
    def of(cls, row: UserStatement) -> "UserProperty":
        """Return what a partner sees of a row."""
        return cls(row.name, msgspec.Raw(row.value), row.app_id, cast("Any", row.user_kind), row.set_at)


class Consent(msgspec.Struct, frozen=True, rename="camel"):
    """A user's choice. `idKind` tells which of the SDK's ids it belongs to."""

    name: Literal["advertising", "analytics", "thirdPartySharing", "att_status"]
    value: AnyJson
    app_id: str
    id_kind: Literal["app_user_id", "install_id"]
    set_at: datetime

    @classmethod
    def of(cls, row: UserStatement) -> "Consent":
        """Return what a partner sees of a row."""
        name, kind = cast("Any", row.name), cast("Any", row.user_kind)
        return cls(name, msgspec.Raw(row.value), row.app_id, kind, row.set_at)


class UserEventsPage(msgspec.Struct, frozen=True, rename="camel"):
    """A page of a user's events, newest first; `nextCursor` is null on the last one.

    What is kept of the user beside events stands on the first page, and is null on all others.
    """

    events: list[StoredEvent]
    user_properties: list[UserProperty] | None
    consents: list[Consent] | None
    next_cursor: str | None


class ErasureAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """An erasure that was asked for; `statusPath` is where to ask how far it has come."""

    erasure_id: str
    status: ErasureStatus
    requested_at: datetime
    status_path: str

    @classmethod
    def of(cls, row: ErasureRow) -> "ErasureAnswer":
        """Return what a partner sees of an erasure that it has asked for."""
        return cls(row.id, row.status, row.requested_at, f"/v1/projects/{row.project_id}/erasures/{row.id}")


class Erased(msgspec.Struct, frozen=True, rename="camel"):
    """How many rows are gone."""

    events: int
    user_properties: int
    consents: int


class ErasureState(msgspec.Struct, frozen=True, rename="camel"):
    """How far an erasure has come. Until `topicsClearedBy` topics may hold records that every consumer refuses."""

    erasure_id: str
    status: ErasureStatus
    requested_at: datetime
    completed_at: datetime | None
    erased: Erased
    topics_cleared_by: datetime

    @classmethod
    def of(cls, row: ErasureRow) -> "ErasureState":
        """Return what a partner sees of an erasure."""
        erased = Erased(row.events_erased, row.user_properties_erased, row.consents_erased)
        cleared_by = row.requested_at + TOPICS_KEEP
        return cls(row.id, row.status, row.requested_at, row.completed_at, erased, cleared_by)


class ErrorDetails(msgspec.Struct, frozen=True, rename="camel"):
    """What is known of the reason; which members there are follows from the code."""

    scope: Literal["key", "organization", "global"] | UnsetType = UNSET
    required_scope: str | UnsetType = UNSET
    errors: list[Fault] | UnsetType = UNSET
    rejected: list[Rejection] | UnsetType = UNSET
    limit: str | int | UnsetType = UNSET
    max: int | UnsetType = UNSET
    endpoint_class: Literal["read", "write"] | UnsetType = UNSET
    events_per_minute_max: int | UnsetType = UNSET


class ErrorBody(msgspec.Struct, frozen=True, rename="camel"):
    """Why not: a code of the closed set, and words for people."""

    code: str
    message: str
    request_id: str
    details: ErrorDetails | UnsetType = UNSET


class ErrorEnvelope(msgspec.Struct, frozen=True, rename="camel"):
    """The body of every error."""

    error: ErrorBody
