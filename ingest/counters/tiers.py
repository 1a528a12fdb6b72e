"""How many calls a partner's key may make: by its tier, and by what the call does."""

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


class Tier(enum.StrEnum):
    """What was agreed with the owner of a key."""

    STANDARD = "standard"
    PILOT = "pilot"
    PARTNER = "partner"


class EndpointClass(enum.StrEnum):
    """What a call does; each class is counted by itself."""

    READ = "read"
    WRITE = "write"


CALLS_PER_MINUTE_MAX: Final[Mapping[tuple[Tier, EndpointClass], int]] = MappingProxyType(
    {
        (Tier.STANDARD, EndpointClass.READ): 120,
        (Tier.STANDARD, EndpointClass.WRITE): 60,
        (Tier.PILOT, EndpointClass.READ): 1_200,
        (Tier.PILOT, EndpointClass.WRITE): 600,
        (Tier.PARTNER, EndpointClass.READ): 6_000,
        (Tier.PARTNER, EndpointClass.WRITE): 3_000,
    }
)
"""Calls of one key in one minute."""
