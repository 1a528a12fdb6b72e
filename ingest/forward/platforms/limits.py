"""How much is sent at once, and how late."""

from typing import Final

_HOUR_MS: Final = 3_600_000

AGE_MS_MAX: Final = 7 * 24 * _HOUR_MS - _HOUR_MS
"""One event older than 7 days, and Meta takes nothing of a call; TikTok tells no age, and gets the same.

An hour is left for what waits between the check and the call's end.
"""

EVENTS_MAX: Final = 200
"""Both platforms take 1,000, but because of one bad event none, and finding it costs calls."""
