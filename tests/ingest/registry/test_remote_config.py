"""What clients are told: strict on the way in, one document out, the same wherever it is made."""

import json
import math
from datetime import date
from typing import Any

import pytest

from ingest.registry.document import app_options, read_options
from ingest.registry.remote_config import BYTES_MAX, RemoteConfig, document, known_platform
from ingest.registry.snapshot import RegistryError
from ingest.registry.toml_file import parse

TOML = """
[apps.app_demo]
project_id = "prj_demo"
organization_id = "org_demo"
[apps.app_demo.remote_config]
cache_ttl = 60
clipboard_attribution_enabled = true
[apps.app_demo.remote_config.events]
denylist = ["noise"]
sampling_rate = 1
[apps.app_demo.remote_config.events.rate_limits]
opened = 5
[apps.app_demo.remote_config.skan]
enabled = true
preset = "subscriptions"
[apps.app_demo.remote_config.platforms.ios.events]
sampling_rate = 0.5
"""


def config(**members: Any) -> RemoteConfig:
    """Return a configuration as it comes from an operator."""
    return read_options({"remote_config": members}).remote_config


def told(members: RemoteConfig, platform: str = "") -> dict[str, Any]:
    """Return what clients of a platform read."""
    data: dict[str, Any] = json.loads(document(members, known_platform(members, platform)))["data"]
    return data


def refusal(**members: Any) -> str:
    """Return why a configuration is refused."""
    with pytest.raises(ValueError, match=r".") as caught:
        config(**members)
    return str(caught.value)


def test_without_a_configuration_everything_is_sent() -> None:
    """What switches a client off is always told, so that it forgets what it was told before; no list stands there."""
    data = told(RemoteConfig())

    assert data["config"] == {"events": {"killswitch": False, "sampling_rate": 1.0}}
    assert data["cache_ttl"] == 300
    assert set(data) == {"config", "version", "cache_ttl"}


def test_a_registry_file_configures_clients() -> None:
    """Tables below `remote_config` arrive, and a platform's members take the place of those for all."""
    app = parse(TOML.encode(), 0).apps["app_demo"]
    base, ios = told(app.remote_config), told(app.remote_config, "iOS")

    assert base["config"] == {
        "clipboard_attribution_enabled": True,
        "events": {"denylist": ["noise"], "killswitch": False, "rate_limits": {"opened": 5}, "sampling_rate": 1.0},
        "skan": {"enabled": True, "preset": "subscriptions"},
    }
    assert ios["config"]["events"] == {**base["config"]["events"], "sampling_rate": 0.5}
    assert {name: ios["config"][name] for name in ("skan", "clipboard_attribution_enabled")} == {
        name: base["config"][name] for name in ("skan", "clipboard_attribution_enabled")
    }
    assert (base["cache_ttl"], ios["cache_ttl"]) == (60, 60)
    assert told(app.remote_config, "toaster") == base


def test_a_fault_in_a_registry_file_is_told_by_its_place() -> None:
    """The file is refused whole, with the reason."""
    with pytest.raises(RegistryError) as caught:
        parse(TOML.replace('["noise"]', "[]").replace("denylist", "allowlist").encode(), 0)

    (problem,) = caught.value.problems
    assert problem.startswith("apps.app_demo.remote_config.events: an empty `allowlist` would silence every event")


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"events": {"allowlist": []}}, "silence every event"),
        ({"platforms": {"ios": {"events": {"allowlist": []}}}}, "silence every event"),
        ({"events": {"allowlist": ["a", "a"]}}, "`allowlist` names an event twice"),
        ({"events": {"denylist": ["a", "b", "a"]}}, "`denylist` names an event twice"),
        ({"events": {"allowlist": "a"}}, "Expected `array"),
        ({"events": {"allowlist": [""]}}, "length >= 1"),
        ({"events": {"allowlist": ["x" * 201]}}, "length <= 200"),
        ({"events": {"denylist": [1]}}, "Expected `str`"),
        ({"events": {"killswitch": 1}}, "Expected `bool"),
        ({"events": {"killswitch": ["a"]}}, "Expected `bool"),
        ({"events": {"killswitch": "true"}}, "Expected `bool"),
        ({"events": {"sampling_rate": 1.01}}, "<= 1"),
        ({"events": {"sampling_rate": -0.01}}, ">= 0"),
        ({"events": {"sampling_rate": math.nan}}, ">= 0"),
        ({"events": {"sampling_rate": "0.5"}}, "Expected `float"),
        ({"events": {"sampling_rate": True}}, "Expected `float"),
        ({"events": {"per_event_sampling": {"a": 2}}}, "<= 1"),
        ({"events": {"per_event_sampling": ["a"]}}, "Expected `object"),
        ({"events": {"rate_limits": [1]}}, "Expected `object"),
        ({"events": {"rate_limits": {"a": math.inf}}}, "JSON does not have"),
        ({"events": {"rate_limits": {"a": 2**64}}}, "JSON does not have"),
        ({"events": {"rate_limits": {"a": date(2026, 1, 1)}}}, "JSON does not have"),
        ({"events": {"unknown": 1}}, "unknown field"),
        ({"killswitch": True}, "unknown field"),
        ({"skan": {"preset": "x"}}, "missing required field `enabled`"),
        ({"skan": {"enabled": True, "preset": "x", "customRules": []}}, "exclude each other"),
        ({"skan": {"enabled": True, "customRules": {}}}, "Expected `array"),
        ({"skan": {"enabled": True, "custom_rules": []}}, "unknown field"),
        ({"att": []}, "Expected `object"),
        ({"deeplinks": {"a": "\0"}}, "U+0000"),
        ({"cache_ttl": 29}, ">= 30"),
        ({"cache_ttl": 86_401}, "<= 86400"),
        ({"cache_ttl": 60.5}, "Expected `int`"),
        ({"platforms": {"iOS": {}}}, "matching regex"),
        ({"platforms": {"ios": {"cache_ttl": 60}}}, "unknown field"),
        ({"platforms": {"ios": {"platforms": {}}}}, "unknown field"),
        ({"connectors": {"a": "x" * BYTES_MAX}}, "larger than"),
    ],
)
def test_what_a_client_would_ignore_is_refused(members: dict[str, Any], reason: str) -> None:
    """With the place or the reason."""
    assert reason in refusal(**members)


def test_nesting_is_bounded() -> None:
    """What is handed on as it is has a depth."""
    deep: dict[str, Any] = {}
    for _ in range(20):
        deep = {"a": deep}

    assert "nested too deeply" in refusal(att=deep)
    assert told(config(att={"a": [{"b": [1, 2.5, None, True, "x"]}]}))["config"]["att"]["a"][0]["b"][1] == 2.5


def test_the_version_follows_the_content() -> None:
    """Equal content has an equal version in whatever order it was written; any change changes it."""
    one = config(events={"rate_limits": {"a": 1, "b": 2}, "denylist": ["x"]})
    same = config(events={"denylist": ["x"], "rate_limits": {"b": 2, "a": 1}})
    others = [
        config(events={"rate_limits": {"a": 1, "b": 2}, "denylist": ["y"]}),
        config(events={"rate_limits": {"a": 1, "b": 2}, "denylist": ["x"]}, cache_ttl=301),
        config(events={"rate_limits": {"a": 1, "b": 2}, "denylist": ["x"], "killswitch": True}),
        RemoteConfig(),
    ]

    assert document(one, "") == document(same, "")
    versions = [told(each)["version"] for each in (one, *others)]
    assert len(set(versions)) == len(versions)
    assert all(type(version) is str for version in versions)


def test_a_platform_can_be_switched_alone() -> None:
    """Both ways: off where all others are on, and on where they are off."""
    off = config(platforms={"web": {"events": {"killswitch": True}}})
    on = config(events={"killswitch": True}, platforms={"web": {"events": {"killswitch": False}}})

    assert [told(off, name)["config"]["events"]["killswitch"] for name in ("web", "ios")] == [True, False]
    assert [told(on, name)["config"]["events"]["killswitch"] for name in ("WEB ", "ios")] == [False, True]


def test_what_is_kept_can_be_read_again() -> None:
    """Options in the database hold what was given and no defaults."""
    given = {
        "events": {"allowlist": ["a"], "per_event_sampling": {"a": 0.25}},
        "skan": {"enabled": False, "customRules": [{"a": 1}]},
        "platforms": {"ios": {"att": {"prompt": True}}},
    }
    kept = app_options(read_options({"remote_config": given}))

    assert kept == {"remote_config": given}
    assert read_options(json.loads(json.dumps(kept))) == read_options({"remote_config": given})
    assert app_options(read_options({"remote_config": {}})) == {}
