"""Who changes something, and the audit event that every change leaves."""

from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from ulid import ULID

from ingest.db.database import Connection
from ingest.db.queries.audit import insert_audit_event
from ingest.db.rows import AuditEvent

Registered = Literal["organization", "project", "app", "key"]
Target = Literal[Registered, "global", "platform", "erasure", "retention", "token", "vault", "destination"]
Switch = Literal["killed", "lifted", "paused", "resumed"]
Change = Literal["created", "changed", "rotated", "resealed", "revoked", "deleted"]
Verb = Literal[Switch, Change, "requested", "completed", "run"]

REASON_CHARACTERS_MAX = 500
ACTOR_CHARACTERS_MAX = 200


class Actor(NamedTuple):
    """Who acts: `name` is `key:<id>`, `operator:<name>` or `system:<process>`, `request_id` that of the call if any."""

    name: str
    request_id: str | None = None

    @classmethod
    def operator(cls, name: str) -> "Actor":
        """Return a person at the command line."""
        return cls(f"operator:{name}"[:ACTOR_CHARACTERS_MAX])

    @classmethod
    def system(cls, process: str) -> "Actor":
        """Return a process of the service that acts by itself."""
        return cls(f"system:{process}")

    @classmethod
    def key(cls, key_id: str, request_id: str) -> "Actor":
        """Return a partner that acts by one of its keys."""
        return cls(f"key:{key_id}", request_id)


class Deed(NamedTuple):
    """What was done to what; `organization_id` is None where all are concerned."""

    target: Target
    verb: Verb
    target_id: str
    organization_id: str | None


class ControlError(Exception):
    """A change that cannot be made; the message tells why, for an operator."""


class Unknown(ControlError):  # noqa: N818 - named for what is wrong
    """There is nothing under this id."""


class Conflict(ControlError):  # noqa: N818 - as above
    """What is there does not allow the change."""


def new_id(prefix: str) -> str:
    """Return a new id: `<prefix>_` and a ULID."""
    return f"{prefix}_{ULID()}"


async def record(
    connection: Connection,
    actor: Actor,
    deed: Deed,
    *,
    reason: str | None = None,
    details: dict[str, Any] | None = None,
) -> AuditEvent:
    """Write the audit event of a change into its transaction, and return it."""
    event = AuditEvent(
        id=new_id("aud"),
        at=datetime.now(UTC),
        organization_id=deed.organization_id,
        actor=actor.name,
        action=f"{deed.target}.{deed.verb}",
        target_type=deed.target,
        target_id=deed.target_id,
        reason=reason,
        request_id=actor.request_id,
        details=details or {},
    )
    await insert_audit_event(connection, event)
    return event
