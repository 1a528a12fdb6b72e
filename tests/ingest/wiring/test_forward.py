"""The platforms as the settings have them."""

from ingest.conversion import Platform
from ingest.settings import Settings
from ingest.settings_rules import load
from ingest.wiring.forward import platforms_of
from tests.ingest.forward.platforms.conversions import app


def test_every_platform_is_where_the_settings_say() -> None:
    """All platforms are known, at their public addresses unless the settings name others."""
    other = {
        "INGEST_META_URL": "http://127.0.0.1:8090/",
        "INGEST_META_API_VERSION": "v27.0",
        "INGEST_TIKTOK_URL": "http://127.0.0.1:8091",
    }

    def urls(settings: Settings) -> dict[Platform, str]:
        return {name: api.call(app(), "token", [b"{}"]).url for name, api in platforms_of(settings).items()}

    assert urls(Settings()) == {
        Platform.META: "https://graph.facebook.com/v26.0/1234567890/events",
        Platform.TIKTOK: "https://business-api.tiktok.com/open_api/v1.3/event/track/",
    }
    assert urls(load(other, role="tool")) == {
        Platform.META: "http://127.0.0.1:8090/v27.0/1234567890/events",
        Platform.TIKTOK: "http://127.0.0.1:8091/open_api/v1.3/event/track/",
    }
    assert set(platforms_of(Settings())) == set(Platform)
