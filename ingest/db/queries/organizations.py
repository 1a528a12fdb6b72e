"""Queries on organizations, their projects and their apps."""

from typing import Any, Final, LiteralString

from psycopg.types.json import Jsonb

from ingest.db.database import Connection
from ingest.db.rows import AppRow, Organization, Project, change, fetch_all, fetch_one

_APPS: Final[LiteralString] = """
    SELECT a.id, a.project_id, p.organization_id, a.name, a.environment, a.options, a.is_active, a.kill_switch,
        a.created_at, a.revoked_at
    FROM apps a JOIN projects p ON p.id = a.project_id
"""


async def insert_organization(connection: Connection, organization_id: str, name: str, contact: str) -> None:
    """Add an organization."""
    await change(
        connection,
        "INSERT INTO organizations (id, name, contact) VALUES (%(id)s, %(name)s, %(contact)s)",
        {"id": organization_id, "name": name, "contact": contact},
    )


async def find_organization(connection: Connection, organization_id: str) -> Organization | None:
    """Return an organization, or None."""
    return await fetch_one(
        connection,
        Organization,
        "SELECT id, name, contact, created_at FROM organizations WHERE id = %(id)s",
        {"id": organization_id},
    )


async def list_organizations(connection: Connection) -> list[Organization]:
    """Return all organizations, oldest first."""
    return await fetch_all(
        connection, Organization, "SELECT id, name, contact, created_at FROM organizations ORDER BY created_at, id"
    )


async def set_contact(connection: Connection, organization_id: str, contact: str) -> int:
    """Change whom an organization's messages go to; return how many organizations that were."""
    return await change(
        connection,
        "UPDATE organizations SET contact = %(contact)s WHERE id = %(id)s",
        {"id": organization_id, "contact": contact},
    )


async def insert_project(connection: Connection, project_id: str, organization_id: str, name: str) -> None:
    """Add a project. Raises `psycopg.errors.ForeignKeyViolation` where there is no such organization."""
    await change(
        connection,
        "INSERT INTO projects (id, organization_id, name) VALUES (%(id)s, %(organization_id)s, %(name)s)",
        {"id": project_id, "organization_id": organization_id, "name": name},
    )


async def find_project(connection: Connection, project_id: str) -> Project | None:
    """Return a project, or None."""
    return await fetch_one(
        connection,
        Project,
        "SELECT id, organization_id, name, created_at, events_retention_days FROM projects WHERE id = %(id)s",
        {"id": project_id},
    )


async def list_projects(connection: Connection, organization_id: str | None) -> list[Project]:
    """Return projects, oldest first; without an organization those of all."""
    return await fetch_all(
        connection,
        Project,
        """
        SELECT id, organization_id, name, created_at, events_retention_days FROM projects
        WHERE %(organization_id)s::text IS NULL OR organization_id = %(organization_id)s
        ORDER BY created_at, id
        """,
        {"organization_id": organization_id},
    )


async def set_events_retention(connection: Connection, project_id: str, days: int | None) -> None:
    """Set for how many days a project's events are kept, None for the default."""
    await change(
        connection,
        "UPDATE projects SET events_retention_days = %(days)s WHERE id = %(id)s",
        {"id": project_id, "days": days},
    )


async def insert_app(
    connection: Connection,
    *,
    app_id: str,
    project_id: str,
    name: str,
    environment: str | None,
    options: dict[str, Any],
) -> None:
    """Add an app. Raises `psycopg.errors.ForeignKeyViolation` or `UniqueViolation`."""
    await change(
        connection,
        """
        INSERT INTO apps (id, project_id, name, environment, options)
        VALUES (%(id)s, %(project_id)s, %(name)s, %(environment)s, %(options)s)
        """,
        {
            "id": app_id,
            "project_id": project_id,
            "name": name,
            "environment": environment,
            "options": Jsonb(options),
        },
    )


async def find_app(connection: Connection, app_id: str) -> AppRow | None:
    """Return an app, or None."""
    return await fetch_one(
        connection,
        AppRow,
        _APPS + "WHERE a.id = %(id)s",
        {"id": app_id},
    )


async def lock_app(connection: Connection, app_id: str) -> AppRow | None:
    """Return an app as `find_app` does, and keep others from changing it until the transaction ends."""
    return await fetch_one(
        connection,
        AppRow,
        _APPS + "WHERE a.id = %(id)s FOR UPDATE OF a",
        {"id": app_id},
    )


async def list_apps(connection: Connection, project_id: str | None) -> list[AppRow]:
    """Return apps, oldest first; without a project those of all."""
    return await fetch_all(
        connection,
        AppRow,
        _APPS
        + """
        WHERE %(project_id)s::text IS NULL OR a.project_id = %(project_id)s
        ORDER BY a.created_at, a.id
        """,
        {"project_id": project_id},
    )


async def set_app(connection: Connection, app_id: str, environment: str | None, options: dict[str, Any]) -> None:
    """Replace what may be chosen for an app."""
    await change(
        connection,
        "UPDATE apps SET environment = %(environment)s, options = %(options)s WHERE id = %(id)s",
        {"id": app_id, "environment": environment, "options": Jsonb(options)},
    )


async def set_app_kill(connection: Connection, app_id: str, *, killed: bool) -> None:
    """Turn an app's kill switch."""
    await change(
        connection, "UPDATE apps SET kill_switch = %(killed)s WHERE id = %(id)s", {"id": app_id, "killed": killed}
    )


async def set_app_revoked(connection: Connection, app_id: str) -> None:
    """Retire an app for good."""
    await change(
        connection,
        "UPDATE apps SET is_active = false, revoked_at = coalesce(revoked_at, now()) WHERE id = %(id)s",
        {"id": app_id},
    )
