"""Whether a conversion is sent, and as what: the questions in their order, each with one answer.

app -> its platform -> switched off? -> token -> erased? -> consent -> age -> what the platform takes
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import msgspec

from ingest.conversion import ConversionRecord, Platform
from ingest.forward.job import Job, happened_at_ms
from ingest.forward.outcome import Skip
from ingest.forward.person import Person, complete
from ingest.forward.platforms.contract import Facts, PlatformApi
from ingest.registry.model import App, Kills
from ingest.registry.snapshot import Snapshot


class Hold(NamedTuple):
    """It cannot be sent now, for a reason that passes: a code."""

    reason: str


class Open(NamedTuple):
    """The destination may be asked, with this token."""

    app: App
    api: PlatformApi
    token: str


Standing = Open | Skip | Hold


class Tokens(Protocol):
    """The tokens of all destinations, as they are now."""

    def of(self, app_id: str, platform: Platform) -> str | Hold:
        """Return the token of a destination, or why there is none."""


KILLED = Hold("killed")
UNKNOWN_NOW = Hold("registry_away")


def standing(
    app_id: str, platform: Platform, snapshot: Snapshot, apis: Mapping[Platform, PlatformApi], tokens: Tokens
) -> Standing:
    """Return whether a destination may be sent to now. While the registry is away an unknown app may be new."""
    app = snapshot.apps.get(app_id)
    if app is None and not snapshot.complete:
        return UNKNOWN_NOW
    if app is None or not app.active:
        return Skip.APP_UNKNOWN
    forward = app.forward.meta if platform is Platform.META else app.forward.tiktok
    if forward is None or not forward.enabled:
        return Skip.PLATFORM_OFF
    if is_killed(app, platform, snapshot.kills):
        return KILLED
    token = tokens.of(app_id, platform)
    return token if isinstance(token, Hold) else Open(app, apis[platform], token)


def is_killed(app: App, platform: Platform, kills: Kills) -> bool:
    """Tell whether a switch is on that concerns this app at this platform."""
    return kills.global_ or app.kill_switch or app.organization_id in kills.organizations or platform in kills.platforms


def shape(job: Job, to: Open, person: Person, now_ms: int) -> bytes | Skip:
    """Return the event as the platform takes it, or why it is not sent."""
    if person.is_erased:
        return Skip.ERASED
    if person.advertising is False:
        return Skip.CONSENT_DENIED
    if person.advertising is None and to.app.consent_required:
        return Skip.CONSENT_MISSING
    at_ms = happened_at_ms(job.record)
    if at_ms is None:
        return Skip.IN_FUTURE
    if now_ms - at_ms > to.api.age_ms_max:
        return Skip.TOO_OLD
    completed: ConversionRecord = msgspec.structs.replace(job.record, event=complete(job.record.event, person))
    return to.api.event(Facts(completed, at_ms, now_ms), to.app)
