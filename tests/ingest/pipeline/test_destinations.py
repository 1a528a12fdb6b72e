import re
from pathlib import Path

import msgspec
import pytest

from ingest.conversion import Platform
from ingest.pipeline.destinations import DEFAULT_NAMES, destinations_of
from ingest.registry.model import App, EventMap, Forward, MetaForward, TikTokForward
from tests.ingest.pipeline.batches import APP, BOTH

META, TIKTOK = Platform.META, Platform.TIKTOK


def app(forward: Forward, event_map: EventMap | None = None) -> App:
    """Return an app that forwards."""
    return msgspec.structs.replace(APP, forward=forward, event_map=event_map or EventMap())


@pytest.mark.parametrize(
    "forward",
    [
        Forward(),
        Forward(meta=MetaForward(dataset_id="1")),
        Forward(tiktok=TikTokForward(event_source_id="C1")),
        Forward(meta=MetaForward(), tiktok=TikTokForward()),
    ],
)
def test_an_app_without_forwarding_has_no_destination(forward: Forward) -> None:
    """A platform that is not there, or not enabled, gets nothing, whatever the app's map says."""
    assert destinations_of(app(forward)) == ()
    assert destinations_of(app(forward, EventMap(meta={"a": "Purchase"}, tiktok={"a": "Purchase"}))) == ()


def test_each_platform_that_is_enabled_is_one() -> None:
    """With its default names where the app has no map for it."""
    assert destinations_of(app(BOTH)) == ((META, DEFAULT_NAMES[META]), (TIKTOK, DEFAULT_NAMES[TIKTOK]))
    assert destinations_of(app(Forward(tiktok=BOTH.tiktok))) == ((TIKTOK, DEFAULT_NAMES[TIKTOK]),)


def test_a_map_stands_in_place_of_all_default_names_of_its_platform() -> None:
    """The other platform keeps its own."""
    mapped = EventMap(meta={"bought": "Purchase"})
    assert destinations_of(app(BOTH, mapped)) == ((META, {"bought": "Purchase"}), (TIKTOK, DEFAULT_NAMES[TIKTOK]))


def test_the_page_has_the_default_names() -> None:
    """The table in `docs/forwarding.md` is what the code does."""
    page = (Path(__file__).parents[3] / "docs" / "forwarding.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \| (`\w+`|none) \| (`\w+`|none) \|$", page, re.MULTILINE)
    told: dict[Platform, dict[str, str]] = {META: {}, TIKTOK: {}}
    for events, *names in rows:
        for platform, name in zip(told, names, strict=True):
            if name != "none":
                told[platform] |= dict.fromkeys(re.findall(r"\w+", events), name.strip("`"))

    assert told == DEFAULT_NAMES
