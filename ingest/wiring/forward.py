"""The platforms to which conversions go, as the settings have them."""

from ingest.conversion import Platform
from ingest.forward.platforms.contract import PlatformApi
from ingest.forward.platforms.meta import MetaConversions
from ingest.forward.platforms.tiktok import TikTokEvents
from ingest.settings import Settings


def platforms_of(settings: Settings) -> dict[Platform, PlatformApi]:
    """Return what is known of each platform."""
    apis: tuple[PlatformApi, ...] = (
        MetaConversions(settings.meta_url, settings.meta_api_version),
        TikTokEvents(settings.tiktok_url),
    )
    return {api.platform: api for api in apis}
