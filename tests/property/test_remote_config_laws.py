"""Laws of what clients are told, whatever an operator has set."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ingest.registry.document import app_options, read_options
from ingest.registry.remote_config import document, known_platform

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)
SHARES = st.floats(0, 1) | st.integers(0, 1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(NAMES, JSON, max_size=3)
EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "allowlist": st.lists(NAMES, min_size=1, max_size=3, unique=True),
        "denylist": st.lists(NAMES, max_size=3, unique=True),
        "sampling_rate": SHARES,
        "per_event_sampling": st.dictionaries(NAMES, SHARES, max_size=3),
        "killswitch": st.booleans(),
        "rate_limits": OBJECTS,
    },
)
PART = {
    "events": EVENTS,
    "clipboard_attribution_enabled": st.booleans(),
    "skan": st.fixed_dictionaries({"enabled": st.booleans()}, optional={"preset": NAMES}),
    "att": OBJECTS,
    "connectors": OBJECTS,
    "deeplinks": OBJECTS,
}
PLATFORMS = st.dictionaries(
    st.sampled_from(["ios", "android", "web"]), st.fixed_dictionaries({}, optional=PART), max_size=2
)
CONFIGS = st.fixed_dictionaries({}, optional={**PART, "cache_ttl": st.integers(30, 86_400), "platforms": PLATFORMS})


@given(content=CONFIGS, platform=st.sampled_from(["ios", "android", "web", "unity", ""]))
def test_clients_read_what_was_set(content: dict[str, Any], platform: str) -> None:
    """A platform's member, else that for all, else the default; never an empty allowlist."""
    config = read_options({"remote_config": content}).remote_config
    data = json.loads(document(config, known_platform(config, platform)))["data"]
    overlay = content.get("platforms", {}).get(platform, {})
    expected = {**content, **overlay}
    events = {
        "sampling_rate": 1,
        "killswitch": False,
        **content.get("events", {}),
        **overlay.get("events", {}),
    }

    assert data["config"]["events"] == events
    for name in ("clipboard_attribution_enabled", "skan", "att", "connectors", "deeplinks"):
        assert data["config"].get(name) == expected.get(name)
    assert data["cache_ttl"] == content.get("cache_ttl", 300)
    assert data["config"]["events"].get("allowlist") != []
    assert type(data["config"]["events"]["killswitch"]) is bool


@given(content=CONFIGS)
def test_what_is_kept_says_the_same(content: dict[str, Any]) -> None:
    """A way through the database, which orders members as it likes, changes no byte of what clients are told."""
    options = read_options({"remote_config": content})
    kept = json.loads(json.dumps(app_options(options), sort_keys=True))

    for platform in ("", *content.get("platforms", {})):
        again = read_options(kept).remote_config
        assert document(again, platform) == document(options.remote_config, platform)
