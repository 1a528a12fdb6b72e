"""Every call of the surface, declared once: its path, what it needs, what it takes and what it answers.

The routes, the ladder's scope and rate class, and the published description all come from this table.
"""

from typing import Any, Final, Literal, NamedTuple

from ingest.counters.tiers import EndpointClass
from ingest.partner.types import (
    ApiKeyAnswer,
    ApiKeyPage,
    AuditPage,
    EmptyRequest,
    ErasureAnswer,
    ErasureState,
    EventsAnswer,
    EventsRequest,
    KillRequest,
    RotatedKey,
    UserEventsPage,
    WhoAmI,
)

Method = Literal["GET", "POST", "DELETE"]


class Operation(NamedTuple):
    """One call. `scope` is what the key must be allowed, None for any key; `query` are its parameters.

    `needs_cache` says that a repeat would do harm, so that a call with an idempotency key is not served without the
    cache.
    """

    name: str
    method: Method
    path: str
    summary: str
    scope: str | None
    answer: Any
    status: int = 200
    request: Any = None
    query: tuple[str, ...] = ()
    needs_cache: bool = True

    @property
    def endpoint_class(self) -> EndpointClass:
        """By which of the key's limits the call is counted."""
        return EndpointClass.READ if self.method == "GET" else EndpointClass.WRITE

    @property
    def repeatable(self) -> bool:
        """Whether `Idempotency-Key` is looked at."""
        return self.method != "GET"


PAGE: Final = ("limit", "cursor")

USER_ID: Final = "userId"
"""The one parameter of paths that is any text, slashes included; it stands at the end."""

USER_ID_CHARACTERS_MAX: Final = 1_024

_USER: Final = "/v1/projects/{projectId}/events/users/{userId}"

OPERATIONS: Final = (
    Operation("whoami", "GET", "/v1/whoami", "Which key calls, and what it may do.", None, WhoAmI),
    Operation(
        "takeEvents",
        "POST",
        "/v1/events",
        "Store a batch of events of one app.",
        "events:write",
        EventsAnswer,
        202,
        EventsRequest,
        needs_cache=False,  # events carry ids by which repeats are dropped
    ),
    Operation(
        "listApiKeys",
        "GET",
        "/v1/api-keys",
        "The organization's keys, oldest first.",
        "keys:read",
        ApiKeyPage,
        query=PAGE,
    ),
    Operation(
        "killApiKey",
        "POST",
        "/v1/api-keys/{keyId}/kill",
        "Turn a key's kill switch on; only an operator lifts it.",
        "keys:write",
        ApiKeyAnswer,
        request=KillRequest,
    ),
    Operation(
        "rotateApiKey",
        "POST",
        "/v1/api-keys/{keyId}/rotate",
        "Give a key a new secret; the old one fails on the next request.",
        "keys:write",
        RotatedKey,
        request=EmptyRequest,
    ),
    Operation("revokeApiKey", "DELETE", "/v1/api-keys/{keyId}", "Retire a key for good.", "keys:write", ApiKeyAnswer),
    Operation(
        "listAuditEvents",
        "GET",
        "/v1/audit-log",
        "What was done to the organization's things, newest first.",
        "audit:read",
        AuditPage,
        query=(*PAGE, "action", "actor", "targetId", "since", "until"),
    ),
    Operation(
        "readUserEvents",
        "GET",
        _USER,
        "All that is kept of a user, by `user_id` or `app_user_id`.",
        "events:read",
        UserEventsPage,
        query=PAGE,
    ),
    Operation(
        "eraseUser",
        "DELETE",
        _USER,
        "Ask for the erasure of all that was received of a user until now.",
        "events:erase",
        ErasureAnswer,
        202,
        needs_cache=False,  # what is erased twice is gone all the same
    ),
    Operation(
        "readErasure",
        "GET",
        "/v1/projects/{projectId}/erasures/{erasureId}",
        "How far an erasure has come.",
        "events:erase",
        ErasureState,
    ),
)
