"""What an app's clients are told to do, by platform. Strict on the way in: a client ignores a wrong type silently."""

import hashlib
import math
from typing import Annotated, Any, Final

import msgspec

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
"""An event's name, or that of a preset."""

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Seconds = Annotated[int, msgspec.Meta(ge=30, le=86_400)]
Platform = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_-]{1,32}$")]
JsonObject = dict[str, Any]

BYTES_MAX: Final = 64 * 1024
"""Largest configuration of an app as JSON, all platforms included: every edge holds those of all apps."""

_NESTING_MAX: Final = 16
_INTEGER_BITS_MAX: Final = 63

_encode = msgspec.json.Encoder(order="deterministic").encode


def _check_json(name: str, value: Any) -> None:
    if not _is_json(value, _NESTING_MAX):
        raise ValueError(f"`{name}` holds a value that JSON does not have, or is nested too deeply")


def _is_json(value: Any, depth: int) -> bool:
    """Tell whether a value of a TOML or JSON file reaches every client as it is."""
    if isinstance(value, dict | list):
        items = value.values() if isinstance(value, dict) else value
        return depth > 0 and all(_is_json(item, depth - 1) for item in items)
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return value.bit_length() <= _INTEGER_BITS_MAX
    return value is None or isinstance(value, str)


class EventRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Which events a client sends. `rate_limits` is handed on as it is."""

    allowlist: list[Name] | None = None
    denylist: list[Name] | None = None
    sampling_rate: Share | None = None
    per_event_sampling: dict[Name, Share] | None = None
    killswitch: bool | None = None
    rate_limits: JsonObject | None = None

    def __post_init__(self) -> None:
        if self.allowlist is not None and not self.allowlist:
            raise ValueError("an empty `allowlist` would silence every event: leave it out, or use `killswitch`")
        for name, names in (("allowlist", self.allowlist), ("denylist", self.denylist)):
            if names is not None and len(set(names)) < len(names):
                raise ValueError(f"`{name}` names an event twice")
        _check_json("rate_limits", self.rate_limits)


class Skan(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    kw_only=True,
    rename={"custom_rules": "customRules"},
):
    """How a client sets SKAdNetwork's conversion values: by a preset, or by rules that are handed on as they are."""

    enabled: bool
    preset: Name | None = None
    custom_rules: list[JsonObject] | None = None

    def __post_init__(self) -> None:
        if self.preset is not None and self.custom_rules is not None:
            raise ValueError("`preset` and `customRules` exclude each other")
        _check_json("customRules", self.custom_rules)


class PlatformConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What clients of one platform are told. `att`, `connectors` and `deeplinks` are handed on as they are."""

    events: EventRules = EventRules()
    clipboard_attribution_enabled: bool | None = None
    skan: Skan | None = None
    att: JsonObject | None = None
    connectors: JsonObject | None = None
    deeplinks: JsonObject | None = None

    def __post_init__(self) -> None:
        for name in ("att", "connectors", "deeplinks"):
            _check_json(name, getattr(self, name))


class RemoteConfig(PlatformConfig, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What all clients of an app are told, and per platform what is told instead; asked for every `cache_ttl` seconds.

    A member of a platform takes the place of the same member here, in `events` one by one.
    """

    cache_ttl: Seconds = 300
    platforms: dict[Platform, PlatformConfig] = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        encoded = _encode(self)
        if len(encoded) > BYTES_MAX:
            raise ValueError(f"the configuration is larger than {BYTES_MAX} bytes as JSON")
        if rb"\u0000" in encoded:
            raise ValueError("a text holds U+0000, which cannot be kept")


def known_platform(config: RemoteConfig, platform: str | None) -> str:
    """Return the platform under which a client that calls itself so is configured; empty for what all are told."""
    name = (platform or "").strip().lower()
    return name if name in config.platforms else ""


def resolve(config: RemoteConfig, platform: str) -> PlatformConfig:
    """Return what clients of a `known_platform` are told."""
    overlay = config.platforms.get(platform, _NOTHING)
    given = {**_given(config), **_given(overlay)}
    events = EventRules(**{**_given(config.events), **_given(overlay.events)})
    return PlatformConfig(**{**given, "events": events})


def document(config: RemoteConfig, platform: str) -> bytes:
    """Return the body that clients of a `known_platform` are answered, the same bytes wherever it is made.

    `sampling_rate` and `killswitch` always stand in it, so that a client forgets those that it was told before.
    """
    told = msgspec.to_builtins(resolve(config, platform))
    told["events"] = {"sampling_rate": 1.0, "killswitch": False, **told.get("events", {})}
    data = {"config": told, "cache_ttl": config.cache_ttl}
    version = hashlib.sha256(_encode(data)).hexdigest()[:16]
    return _encode({"data": {**data, "version": version}})


_NOTHING: Final = PlatformConfig()


def _given(part: EventRules | PlatformConfig) -> JsonObject:
    names = EventRules.__struct_fields__ if isinstance(part, EventRules) else PlatformConfig.__struct_fields__
    return {name: value for name in names if (value := getattr(part, name)) is not None}
