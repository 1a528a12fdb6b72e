"""The query that makes the edges' copy of the registry."""

from typing import Final, LiteralString

from ingest.db.database import Connection

CHANNEL: Final[LiteralString] = "ingest_registry"
"""Where the database tells of a change; see the trigger in the first migration."""

_DOCUMENT: Final[LiteralString] = """
    SELECT json_build_object(
        'version', (SELECT version FROM registry_version),
        'apps', coalesce((
            SELECT json_agg(json_build_object(
                'id', a.id, 'project_id', a.project_id, 'organization_id', p.organization_id, 'name', a.name,
                'environment', a.environment, 'active', a.is_active AND a.revoked_at IS NULL,
                'kill_switch', a.kill_switch, 'options', a.options) ORDER BY a.id)
            FROM apps a JOIN projects p ON p.id = a.project_id), '[]'),
        'kills', json_build_object(
            'global', EXISTS (SELECT FROM kill_switches WHERE scope = 'global'),
            'organizations', coalesce((
                SELECT json_agg(organization_id ORDER BY organization_id)
                FROM kill_switches WHERE scope = 'organization'), '[]'),
            'platforms', coalesce((
                SELECT json_agg(platform ORDER BY platform) FROM kill_switches WHERE scope = 'platform'), '[]'))
    )::text
"""


async def registry_version(connection: Connection) -> int:
    """Return the number that every change of the registry raises."""
    async with connection.cursor() as cursor:
        await cursor.execute("SELECT version FROM registry_version")
        row = await cursor.fetchone()
        assert row is not None
        return int(row[0])


async def registry_document(connection: Connection) -> bytes:
    """Return the whole registry as of one moment, as the JSON that `ingest.registry.document` reads."""
    async with connection.cursor() as cursor:
        await cursor.execute(_DOCUMENT)
        row = await cursor.fetchone()
        assert row is not None
        return str(row[0]).encode()
