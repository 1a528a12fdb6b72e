"""One synthetic event to a platform, as a test: what would be sent, and what the platform says."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from ulid import ULID

from ingest.clock import SystemClock
from ingest.control.record import ControlError
from ingest.conversion import CONVERSION_VERSION, Conversion, ConversionMeta, ConversionRecord, Platform
from ingest.db.database import Database
from ingest.db.queries.registry import registry_document
from ingest.forward.caller import HttpCaller, Unanswered
from ingest.forward.decide import Hold, is_killed
from ingest.forward.outcome import Skip
from ingest.forward.platforms.contract import Accepted, Facts, PlatformApi
from ingest.forward.tokens import VaultTokens
from ingest.registry.document import read_document
from ingest.registry.model import App
from ingest.settings import Settings
from ingest.wiring.forward import platforms_of
from ingest.wiring.vault import vault_keys
from normalize import email_digest

NAMES: Final[Mapping[Platform, str]] = {Platform.META: "ViewContent", Platform.TIKTOK: "ViewContent"}
BROWSER: Final = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36"
SOMEBODY: Final = "forward-test@example.com"
_ON_PAGE: Final[Mapping[str, Any]] = {"platform": "web", "user_agent": BROWSER}
_IN_APP: Final[Mapping[str, Any]] = {"platform": "ios", "os_version": "17.5"}
HIDDEN: Final = "***"


class Tried(msgspec.Struct, frozen=True):
    """The answer to the test: HTTP status, the text without the token, and how it was understood."""

    status: int
    answer: str
    verdict: str
    accepted: bool


async def try_forward(database: Database, settings: Settings, app_id: str, platform: Platform, test_code: str) -> Tried:
    """Send one event about nobody. Raises `ControlError` where the destination is not ready, or does not answer."""
    reading = read_document(await database.run(registry_document), 0, complete=True)
    app, kills = reading.snapshot.apps.get(app_id), reading.snapshot.kills
    if app is None or not app.active:
        raise ControlError("there is no such app")
    if not _is_ready(app, platform):
        raise ControlError(f"the app has no options for {platform}: `ingest apps change` gives it some")
    if is_killed(app, platform, kills):
        raise ControlError("a kill switch is on")
    tokens = VaultTokens(database, vault_keys(settings))
    await tokens.look()
    token = tokens.of(app_id, platform)
    if isinstance(token, Hold):
        raise ControlError(f"no token to send with: {token.reason}")
    return await _send(platforms_of(settings)[platform], app, token, test_code)


async def _send(api: PlatformApi, app: App, token: str, test_code: str) -> Tried:
    now_ms = SystemClock().now_ms()
    event = api.event(Facts(_record(app, api.platform, now_ms), now_ms, now_ms), app)
    if isinstance(event, Skip):
        raise ControlError(f"the test event would be skipped: {event}")
    caller = HttpCaller()
    try:
        answer = await caller.exchange(api.platform, api.call(app, token, [event], test_code))
    except Unanswered as error:
        raise ControlError(f"the platform does not answer: {error}") from None
    finally:
        await caller.close()
    verdict = api.verdict(*answer)
    text = answer.body.decode(errors="replace").replace(token, HIDDEN)
    return Tried(answer.status, text, repr(verdict), isinstance(verdict, Accepted))


def _is_ready(app: App, platform: Platform) -> bool:
    """Tell whether it is known where to send; that it is enabled is not asked for."""
    meta, tiktok = app.forward.meta, app.forward.tiktok
    if platform is Platform.META:
        return meta is not None and meta.dataset_id is not None
    return tiktok is not None and tiktok.event_source_id is not None


def _sees_apps(app: App, platform: Platform) -> bool:
    """Tell whether the platform takes only what happens in an app."""
    tiktok = app.forward.tiktok
    return platform is Platform.TIKTOK and tiktok is not None and tiktok.event_source == "app"


def _record(app: App, platform: Platform, now_ms: int) -> ConversionRecord:
    """Return a view of somebody who does not exist: of a page, or in an app where the platform takes only that."""
    now = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    event_id = f"test-{ULID()}"
    meta = ConversionMeta(
        CONVERSION_VERSION,
        app.id,
        app.project_id,
        app.organization_id,
        now,
        event_id,
        "test",
        {},
        event_id,
    )
    event = Conversion(
        "content_open",
        now,
        {platform: NAMES[platform]},
        app_user_id=event_id,
        email_sha256=(email_digest(SOMEBODY) or "",),
        content_ids=("test",),
        **(_IN_APP if _sees_apps(app, platform) else {**_ON_PAGE, "page_url": app.web_url or "https://example.com/"}),
    )
    return ConversionRecord(meta, event)
