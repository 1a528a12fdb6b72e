"""One synthetic event to a platform, as a test: what would be sent, and what the platform says."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec
from ulid import ULID

from ingest.clock import SystemClock
from ingest.control.record import ControlError
from ingest.conversion import CONVERSION_VERSION, Conversion, ConversionMeta, ConversionRecord, Platform
from ingest.db.database import Connection, Database
from ingest.db.queries.registry import registry_document
from ingest.forward.caller import HttpCaller, Unanswered
from ingest.forward.decide import Hold
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


class Tried(msgspec.Struct, frozen=True):
    """The answer to the test: HTTP status, the text, and how it was understood."""

    status: int
    answer: str
    verdict: str
    accepted: bool


async def try_forward(settings: Settings, app_id: str, platform: Platform, test_code: str) -> Tried:
    """Send one event about nobody. Raises `ControlError` where the destination is not ready, or does not answer."""
    if settings.postgres_dsn is None:
        raise ControlError("INGEST_POSTGRES_DSN is not set, and no `ingest dev` is running here")
    database = Database(settings.postgres_dsn.reveal(), "ingest-operator", connections_max=1)
    await database.open()
    try:
        app = await database.run(lambda connection: _app(connection, app_id))
        tokens = VaultTokens(database, vault_keys(settings))
        await tokens.look()
    finally:
        await database.close()
    forward = app.forward.meta if platform is Platform.META else app.forward.tiktok
    if forward is None:
        raise ControlError(f"the app has no options for {platform}: `ingest apps set` makes them")
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
        answer = await caller.exchange(api.call(app, token, [event], test_code))
    except Unanswered as error:
        raise ControlError(f"the platform does not answer: {error}") from None
    finally:
        await caller.close()
    verdict = api.verdict(*answer)
    return Tried(answer.status, answer.body.decode(errors="replace"), repr(verdict), isinstance(verdict, Accepted))


async def _app(connection: Connection, app_id: str) -> App:
    reading = read_document(await registry_document(connection), 0, complete=True)
    app = reading.snapshot.apps.get(app_id)
    if app is None:
        raise ControlError("there is no such app")
    return app


def _record(app: App, platform: Platform, now_ms: int) -> ConversionRecord:
    """Return a page view of somebody who does not exist."""
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
        platform="web",
        app_user_id=event_id,
        email_sha256=(email_digest(SOMEBODY) or "",),
        user_agent=BROWSER,
        page_url=app.web_url or "https://example.com/",
        content_ids=("test",),
    )
    return ConversionRecord(meta, event)
