"""What an app's clients are told to do, changed by an operator: whole, or member by member."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from ingest.control.organizations import REMOTE_CONFIG
from ingest.control.record import Actor, ControlError, Deed, Unknown, record
from ingest.db.database import Connection
from ingest.db.queries.organizations import lock_app, set_app
from ingest.registry.document import app_options, read_options
from ingest.registry.model import Options
from ingest.registry.remote_config import EventRules, JsonObject, PlatformConfig, RemoteConfig

OPTION: Final = REMOTE_CONFIG
MEMBERS: Final = (
    *(f"events.{name}" for name in EventRules.__struct_fields__),
    *PlatformConfig.__struct_fields__,
    "cache_ttl",
)
"""What can be set by itself; of a platform all but the last one."""

Edit = Callable[[JsonObject], Any]
"""Returns a configuration as it shall be from what it is, which stays as it is."""


async def change_remote_config(
    connection: Connection, app_id: str, edit: Edit, actor: Actor, *, reason: str | None = None
) -> RemoteConfig:
    """Change an app's configuration and return it. Raises `Unknown`, and `ControlError` where it does not hold up."""
    app = await lock_app(connection, app_id)
    if app is None:
        raise Unknown("there is no such app")
    before = _object(app.options.get(OPTION))
    try:
        options: Options = read_options({**app.options, OPTION: edit(before)})
    except msgspec.ValidationError as error:
        raise ControlError(f"the configuration does not hold up: {error}") from None
    stored = app_options(options)
    old, new = _members(before), _members(stored.get(OPTION, {}))
    changed = sorted(path for path in {*old, *new} if old.get(path) != new.get(path))
    if stored != app.options:
        await set_app(connection, app_id, app.environment, stored)
        deed = Deed("app", "changed", app_id, app.organization_id)
        await record(connection, actor, deed, reason=reason, details={"members": changed})
    return options.remote_config


def replaced(content: Any, platform: str | None) -> Edit:
    """Put `content` in the place of all that is there, or of all that is there for a platform."""

    def edit(before: JsonObject) -> Any:
        if platform is None:
            return content
        return {**before, "platforms": {**_object(before.get("platforms")), platform: content}}

    return edit


def with_member(member: str, value: Any, platform: str | None) -> Edit:
    """Set one of `MEMBERS`."""

    def edit(before: JsonObject) -> Any:
        part, (outer, _, inner) = _part(before, platform), member.partition(".")
        new = {**_object(part.get(outer)), inner: value} if inner else value
        return replaced({**part, outer: new}, platform)(before)

    return edit


def without_member(member: str, platform: str | None) -> Edit:
    """Take one of `MEMBERS` away, if it is there."""

    def edit(before: JsonObject) -> Any:
        part, (outer, _, inner) = _part(before, platform), member.partition(".")
        rest = _without(part, outer)
        if inner:
            rest[outer] = _without(_object(part.get(outer)), inner)
        return replaced(rest, platform)(before)

    return edit


def without_platform(platform: str) -> Edit:
    """Take away what is told to one platform instead of what all are told."""
    return lambda before: {**before, "platforms": _without(_object(before.get("platforms")), platform)}


def _part(content: JsonObject, platform: str | None) -> JsonObject:
    return content if platform is None else _object(_object(content.get("platforms")).get(platform))


def _object(value: Any) -> JsonObject:
    """Return what is an object; what somebody wrote there by hand counts for nothing."""
    return value if isinstance(value, dict) else {}


def _without(content: JsonObject, name: str) -> JsonObject:
    return {key: value for key, value in content.items() if key != name}


def _members(content: JsonObject) -> JsonObject:
    """Return the members by their paths, as far down as they are declared."""
    platforms = _object(content.get("platforms"))
    parts = {
        "": _without(content, "platforms"),
        **{f"platforms.{name}.": _object(platforms[name]) for name in platforms},
    }
    members: JsonObject = {}
    for place, part in parts.items():
        members |= {f"{OPTION}.{place}{name}": value for name, value in _without(part, "events").items()}
        members |= {f"{OPTION}.{place}events.{name}": value for name, value in _object(part.get("events")).items()}
    return members
