"""What is known of an app. Strict on the way in, immutable afterwards."""

from typing import Annotated, Literal

import msgspec

from ingest.conversion import Platform
from ingest.registry.remote_config import RemoteConfig

Id = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
"""An id that is safe to log and to put into keys."""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Url = Annotated[str, msgspec.Meta(pattern=r"^https://[^\s]+$", max_length=2048)]
EventsPerMinute = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
EventNames = dict[Name, Name]


class MetaForward(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Forwarding to Meta: into which dataset."""

    enabled: bool = False
    dataset_id: Id | None = None

    def __post_init__(self) -> None:
        if self.enabled and self.dataset_id is None:
            raise ValueError("`enabled` needs `dataset_id`")


class TikTokForward(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Forwarding to TikTok: `event_source_id` is the pixel code, or for the source `app` the TikTok app id.

    Events of the source `app` name the app as its store does: `store_app_id`. Advertising ids go as digests unless
    `plain_advertising_ids`.
    """

    enabled: bool = False
    event_source_id: Id | None = None
    event_source: Literal["web", "app"] = "web"
    store_app_id: Name | None = None
    plain_advertising_ids: bool = False

    def __post_init__(self) -> None:
        if self.enabled and self.event_source_id is None:
            raise ValueError("`enabled` needs `event_source_id`")
        if self.enabled and self.event_source == "app" and self.store_app_id is None:
            raise ValueError("`event_source` app needs `store_app_id`")


class Forward(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where an app's conversions go; a platform that is absent gets nothing."""

    meta: MetaForward | None = None
    tiktok: TikTokForward | None = None


class EventMap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Per platform, from an app's own event names to the platform's, in place of the default names."""

    meta: EventNames = {}
    tiktok: EventNames = {}


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What may be chosen for an app. `events_per_minute_max` None means no limit.

    `remote_config` is what its clients are told to do.
    """

    events_per_minute_max: EventsPerMinute | None = None
    consent_required: bool = False
    store_url_ios: Url | None = None
    store_url_android: Url | None = None
    web_url: Url | None = None
    event_map: EventMap = EventMap()
    forward: Forward = Forward()
    remote_config: RemoteConfig = RemoteConfig()


class App(Options, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One app that may send, or might again.

    `active` false means retired for good, `kill_switch` true switched off for now. `environment` is what its records
    say where the event itself says nothing.
    """

    id: Id
    project_id: Id
    organization_id: Id
    name: Name | None = None
    environment: Id | None = None
    active: bool = True
    kill_switch: bool = False


class Kills(msgspec.Struct, frozen=True):
    """The kill switches above the single app: the one for everybody, and the organizations that are switched off.

    Nothing is sent to `platforms`; that concerns no sender.
    """

    global_: bool = False
    organizations: frozenset[Id] = frozenset()
    platforms: frozenset[Platform] = frozenset()
