"""What a consumer does with records, and what it says of those that it cannot use."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from ingest.transport.contract import Delivered


class Poison(NamedTuple):
    """A record that can never be used: `reason` is a code of ours and holds nothing of the record."""

    record: Delivered
    reason: str


class Away(Exception):  # noqa: N818 - a state of the world that passes
    """What the step writes to is away for now: the same records are tried again."""


class Step(Protocol):
    """The work of one consumer. It is done with all records or with none."""

    async def do(self, records: Sequence[Delivered]) -> Sequence[Poison]:
        """Do the work for records in the order of their partitions, and return those that can never be used.

        What it did before, and is asked again after a crash, it does not do twice. Raises `Away`.
        """
