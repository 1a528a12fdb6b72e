"""How long records stay on each topic, whatever transport holds them."""

from typing import Final

from ingest.transport.contract import Topic

_HOUR_MS: Final = 60 * 60 * 1000
_DAY_MS: Final = 24 * _HOUR_MS

RETENTION_MS: Final[dict[Topic, int]] = {
    Topic.EVENTS: 7 * _DAY_MS,
    Topic.FORWARD: _HOUR_MS,
    Topic.FORWARD_PARKED: 2 * _DAY_MS,
    Topic.USER_PROPERTIES: 7 * _DAY_MS,
    Topic.CONSENT: 7 * _DAY_MS,
    Topic.SKAN: 7 * _DAY_MS,
    Topic.CLICKS: 7 * _DAY_MS,
    Topic.ERASURES: 30 * _DAY_MS,
    Topic.DEAD_LETTERS: 30 * _DAY_MS,
}
"""Milliseconds by topic. Raw device identifiers may stand in `forward`, so it is kept shortest."""
