"""`GET /config`: what an app's clients are told to do, from the registry in memory, encoded once."""

import hashlib
import re
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from ingest.registry.admission import admit
from ingest.registry.model import App
from ingest.registry.remote_config import document, known_platform
from ingest.registry.snapshot import Registry, Snapshot

KEPT_MAX: Final = 4096
"""Encoded configurations that are kept; an app has one, and one more for each platform that differs."""

# The SDK's own clock, `cache_ttl`, is the only one: no cache on the way may answer for an app that is switched off.
_CACHE_CONTROL: Final = "private, no-cache"
_VARY: Final = "Origin, X-App-Id"

_tags = re.compile(r'(?:W/)?("[^"]*")').findall


class Served(NamedTuple):
    """A body and its strong entity tag, quotes included."""

    body: bytes
    etag: str


class RemoteConfigs:
    """Answers for all apps. What is encoded is kept until the registry changes."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._snapshot: Snapshot | None = None
        self._kept: dict[tuple[str, str], Served] = {}

    async def answer(self, request: Request) -> Response:
        """Answer one request. Raises `Refusal` as `admit` does: a killed app's clients keep what they were told."""
        query = request.query_params
        served = self.of(query.get("app_id") or request.headers.get("x-app-id"), query.get("platform"))
        headers = {"etag": served.etag, "cache-control": _CACHE_CONTROL, "vary": _VARY}
        if is_known(request.headers.getlist("if-none-match"), served.etag):
            return Response(status_code=304, headers=headers)
        return Response(served.body, headers=headers, media_type="application/json")

    def of(self, app_id: str | None, platform: str | None) -> Served:
        """Return what is served to clients of an app that call themselves so. Raises `Refusal`."""
        snapshot = self._registry.current()
        app = admit(snapshot, app_id)
        if snapshot is not self._snapshot:
            self._snapshot = snapshot
            self._kept.clear()
        key = app.id, known_platform(app.remote_config, platform)
        served = self._kept.get(key)
        if served is None:
            if len(self._kept) >= KEPT_MAX:
                del self._kept[next(iter(self._kept))]
            served = self._kept[key] = _encoded(app, key[1])
        return served


def is_known(if_none_match: list[str], etag: str) -> bool:
    """Tell whether the header, which may come in several lines, names this entity tag, by the weak comparison."""
    named = ",".join(if_none_match)
    return named.strip() == "*" or etag in _tags(named)


def _encoded(app: App, platform: str) -> Served:
    body = document(app.remote_config, platform)
    return Served(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
