"""Organizations, projects and apps: created, changed, retired."""

import re
from typing import Any, Final

import msgspec
from psycopg.errors import ForeignKeyViolation, UniqueViolation

from ingest.control.record import Actor, Conflict, ControlError, Deed, Unknown, new_id, record
from ingest.control.secrets import is_key_id
from ingest.db.database import Connection
from ingest.db.queries.organizations import (
    find_app,
    find_organization,
    find_project,
    insert_app,
    insert_organization,
    insert_project,
    lock_app,
    set_app,
    set_app_revoked,
    set_contact,
    set_events_retention,
)
from ingest.db.rows import AppRow, Project
from ingest.registry.document import app_options
from ingest.registry.model import Options
from ingest.settings import EVENTS_RETENTION_DAYS_MIN

_is_mail_address = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)*[A-Za-z0-9-]{1,63}"
).fullmatch
_is_url = re.compile(r"https?://[^\s/?#@]+(?:[/?][^\s]*)?").fullmatch
CONTACT_CHARACTERS_MAX: Final = 2048
REMOTE_CONFIG: Final = "remote_config"
"""The option that is changed by commands of its own."""


async def create_organization(connection: Connection, name: str, contact: str, actor: Actor) -> str:
    """Add an organization and return its id. Raises `ControlError` where the contact is none."""
    _check_contact(contact)
    organization_id = new_id("org")
    await insert_organization(connection, organization_id, name, contact)
    await record(connection, actor, Deed("organization", "created", organization_id, organization_id))
    return organization_id


async def change_contact(connection: Connection, organization_id: str, contact: str, actor: Actor) -> None:
    """Change whom an organization's messages go to. Raises `Unknown`, and `ControlError` where the contact is none."""
    _check_contact(contact)
    if not await set_contact(connection, organization_id, contact):
        raise Unknown("there is no such organization")
    await record(
        connection,
        actor,
        Deed("organization", "changed", organization_id, organization_id),
        details={"member": "contact"},
    )


async def create_project(connection: Connection, organization_id: str, name: str, actor: Actor) -> str:
    """Add a project and return its id. Raises `Unknown` where there is no such organization."""
    if await find_organization(connection, organization_id) is None:
        raise Unknown("there is no such organization")
    project_id = new_id("prj")
    await insert_project(connection, project_id, organization_id, name)
    await record(connection, actor, Deed("project", "created", project_id, organization_id))
    return project_id


async def change_events_retention(
    connection: Connection, project_id: str, days: int | None, default_days: int, actor: Actor
) -> Project:
    """Set for how many days a project's events are kept, None for the default, and return the project.

    Raises `Unknown`, and `ControlError` where the days are fewer than may be or more than the default.
    """
    if days is not None and not EVENTS_RETENTION_DAYS_MIN <= days <= default_days:
        raise ControlError(
            f"events of a project are kept for {EVENTS_RETENTION_DAYS_MIN} to {default_days} days; the latter is the"
            " default, INGEST_EVENTS_RETENTION_DAYS"
        )
    project = await find_project(connection, project_id)
    if project is None:
        raise Unknown("there is no such project")
    await set_events_retention(connection, project_id, days)
    await record(
        connection,
        actor,
        Deed("project", "changed", project_id, project.organization_id),
        details={"member": "events_retention_days", "from": project.events_retention_days, "to": days},
    )
    return msgspec.structs.replace(project, events_retention_days=days)


async def create_app(
    connection: Connection,
    project_id: str,
    name: str,
    actor: Actor,
    *,
    app_id: str | None = None,
    environment: str | None = None,
    options: Options | None = None,
) -> AppRow:
    """Add an app. Raises `Unknown` where there is no such project, and `Conflict` where the id is taken."""
    made = app_id or new_id("app")
    if is_key_id(made):
        raise ControlError("an app's id must not look like that of a key")
    try:
        await insert_app(
            connection,
            app_id=made,
            project_id=project_id,
            name=name,
            environment=environment,
            options=app_options(options or Options()),
        )
    except ForeignKeyViolation:
        raise Unknown("there is no such project") from None
    except UniqueViolation:
        raise Conflict("there is an app with this id already") from None
    app = await _present(connection, made)
    await record(connection, actor, Deed("app", "created", made, app.organization_id))
    return app


async def change_app(
    connection: Connection, app_id: str, actor: Actor, *, environment: str | None, options: dict[str, Any]
) -> AppRow:
    """Replace what may be chosen for an app, what its clients are told only where it is given. Raises `Unknown`."""
    app = await lock_app(connection, app_id)
    if app is None:
        raise Unknown("there is no such app")
    options = {name: app.options[name] for name in (REMOTE_CONFIG,) if name in app.options} | options
    await set_app(connection, app_id, environment, options)
    changed = sorted(name for name in {*app.options, *options} if app.options.get(name) != options.get(name)) + (
        ["environment"] if environment != app.environment else []
    )
    await record(connection, actor, Deed("app", "changed", app_id, app.organization_id), details={"members": changed})
    return await _present(connection, app_id)


async def revoke_app(connection: Connection, app_id: str, actor: Actor, *, reason: str) -> AppRow:
    """Retire an app for good; one that is retired already stays so. Raises `Unknown`."""
    app = await lock_app(connection, app_id)
    if app is None:
        raise Unknown("there is no such app")
    if app.is_active:
        await set_app_revoked(connection, app_id)
        await record(connection, actor, Deed("app", "revoked", app_id, app.organization_id), reason=reason)
    return await _present(connection, app_id)


def _check_contact(contact: str) -> None:
    if len(contact) > CONTACT_CHARACTERS_MAX or not (_is_mail_address(contact) or _is_url(contact)):
        raise ControlError("the contact must be an e-mail address or a URL")


async def _present(connection: Connection, app_id: str) -> AppRow:
    app = await find_app(connection, app_id)
    assert app is not None
    return app
