"""One body for each request and each answer, as the published description shows it; made of the types themselves."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from ingest.control.erasures import TOPICS_KEEP
from ingest.counters.tiers import Tier
from ingest.errors import Code
from ingest.outcome import Rejection, RejectionCode
from ingest.partner.call import Fault
from ingest.partner.operations import Operation
from ingest.partner.types import (
    ApiKey,
    ApiKeyAnswer,
    ApiKeyPage,
    AuditEntry,
    AuditPage,
    AuditTarget,
    Consent,
    EmptyRequest,
    Erased,
    ErasureAnswer,
    ErasureState,
    ErrorBody,
    ErrorDetails,
    ErrorEnvelope,
    EventsAnswer,
    EventsRequest,
    KillRequest,
    OrganizationRef,
    PartnerEvent,
    RotatedKey,
    StoredEvent,
    UserEventsPage,
    UserProperty,
    WhoAmI,
)
from ingest.transport.contract import Stored

_REQUEST_ID: Final = "req_01JDF3QK4V8Z6X2M9T5B7C1DHE"
_KEY_ID: Final = "01JDF3M2R7W5Q9KX4T8B6C0ZEA"
_OTHER_KEY_ID: Final = "01JDF3P6H1N3S5V7X9Z2B4D6FA"
_AT: Final = datetime(2026, 11, 24, 10, tzinfo=UTC)
_REJECTION: Final = Rejection(
    1, RejectionCode.INVALID_TIMESTAMP, "`occurredAt` must be an RFC 3339 date-time.", "occurredAt"
)


def _key(*, killed: bool = False, revoked_at: datetime | None = None, rotated_at: datetime | None = None) -> ApiKey:
    return ApiKey(
        id=_OTHER_KEY_ID,
        prefix=f"lp_live_{_OTHER_KEY_ID}",
        env="live",
        name="Warehouse",
        scopes=["events:write"],
        tier=Tier.STANDARD,
        active=revoked_at is None,
        kill_switch=killed,
        created_at=datetime(2026, 11, 1, 9, 30, tzinfo=UTC),
        rotated_at=rotated_at,
        revoked_at=revoked_at,
    )


_AUDIT_ENTRY: Final = AuditEntry(
    id="aud_01JDF3QK5A3C5E7G9J2M4P6R8T",
    at=_AT,
    actor=f"key:{_KEY_ID}",
    action="key.killed",
    target=AuditTarget("key", _OTHER_KEY_ID),
    reason="leaked in a build log",
    request_id=_REQUEST_ID,
    details={},
)

_ERASURE_ID: Final = "era_01JDF3QK5F7H9K2M4P6R8T1V3X"
_USER_EVENTS: Final = UserEventsPage(
    [
        StoredEvent(
            "app_demo",
            "order-4711",
            "purchase_success",
            "2026-11-24T10:00:00Z",
            _AT,
            msgspec.Raw(b'{"event": "purchase_success", "timestamp": "2026-11-24T10:00:00Z", "app_user_id": "u-1"}'),
            msgspec.Raw(b'{"v": 1, "source": "partner", "project_id": "prj_demo"}'),
        )
    ],
    [UserProperty("plan", msgspec.Raw(b'"yearly"'), "app_demo", "app_user_id", _AT)],
    [Consent("analytics", msgspec.Raw(b"true"), "app_demo", "app_user_id", _AT)],
    None,
)

_ANSWERS: Final[dict[str, Any]] = {
    "whoami": WhoAmI(
        OrganizationRef("org_demo", "Demo"), _KEY_ID, "live", ["events:write", "keys:read"], Tier.STANDARD
    ),
    "takeEvents": EventsAnswer(_REQUEST_ID, Stored.REPLICATED, accepted=1, duplicates=0, rejected=[_REJECTION]),
    "listApiKeys": ApiKeyPage([_key()], "MDFKREYzUDZIMU4zUzVWN1g5WjJCNEQ2RkE"),
    "killApiKey": ApiKeyAnswer(_key(killed=True)),
    "rotateApiKey": RotatedKey(
        _key(rotated_at=_AT), f"lp_live_{_OTHER_KEY_ID}.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    ),
    "revokeApiKey": ApiKeyAnswer(_key(revoked_at=_AT)),
    "listAuditEvents": AuditPage([_AUDIT_ENTRY], None),
    "readUserEvents": _USER_EVENTS,
    "eraseUser": ErasureAnswer(_ERASURE_ID, "accepted", _AT, f"/v1/projects/prj_demo/erasures/{_ERASURE_ID}"),
    "readErasure": ErasureState(
        _ERASURE_ID, "completed", _AT, _AT + timedelta(seconds=9), Erased(412, 6, 3), _AT + TOPICS_KEEP
    ),
}

_REQUESTS: Final[dict[Any, Any]] = {
    EventsRequest: EventsRequest(
        "prj_demo",
        "app_demo",
        [
            PartnerEvent(
                "purchase_success",
                "2026-11-24T10:00:00Z",
                "order-4711",
                "u-1",
                {"revenue": 9.99, "currency": "EUR", "email": "a@example.com"},
            )
        ],
    ),
    KillRequest: KillRequest("leaked in a build log"),
    EmptyRequest: EmptyRequest(),
}

_DETAILS: Final = {
    Code.ALL_EVENTS_REJECTED: ErrorDetails(rejected=[_REJECTION]),
    Code.PAYLOAD_TOO_LARGE: ErrorDetails(limit="body_bytes", max=1_048_576),
    Code.VALIDATION: ErrorDetails(errors=[Fault("reason", "must be a text of 1 to 500 characters in one line")]),
    Code.RATE_LIMITED: ErrorDetails(limit=60, endpoint_class="write"),
    Code.KILL_SWITCH: ErrorDetails(scope="key"),
}


def answer_example(operation: Operation) -> Any:
    """Return what the call answers where all went well."""
    return msgspec.json.decode(msgspec.json.encode(_ANSWERS[operation.name]))


def request_example(operation: Operation) -> Any:
    """Return what is sent to a call that takes a body."""
    return msgspec.to_builtins(_REQUESTS[operation.request])


def error_example(operation: Operation, code: Code) -> Any:
    """Return what the call answers where `code` is the reason why not."""
    details = _DETAILS.get(code, msgspec.UNSET)
    if code is Code.FORBIDDEN_SCOPE and operation.scope is not None:
        details = ErrorDetails(required_scope=operation.scope)
    return msgspec.to_builtins(ErrorEnvelope(ErrorBody(code.name, code.value.message, _REQUEST_ID, details)))
