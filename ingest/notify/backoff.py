"""How long to wait before the next attempt."""

from collections.abc import Callable
from typing import Final

FIRST_S: Final = 10.0
LONGEST_S: Final = 900.0


def delay_s(attempts: int, random: Callable[[], float]) -> float:
    """Return the seconds to wait after `attempts` failures, at least one: twice as long each time, up to LONGEST_S.

    `random` returns a number from 0 to 1; the upper half of each wait is drawn by it, so that what failed together does
    not come back together.
    """
    doublings = min(attempts - 1, 16)
    longest = min(FIRST_S * 2.0**doublings, LONGEST_S)
    return longest * (1 + random()) / 2
