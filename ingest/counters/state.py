"""What an operator is told of the counters."""

from typing import NamedTuple


class CountersState(NamedTuple):
    """Whether this process counts by itself because Valkey is away, and how many calls Valkey has not answered."""

    local: bool = False
    failures: int = 0
