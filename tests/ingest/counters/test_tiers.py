"""The tiers of partners' keys."""

from itertools import product

from ingest.counters.tiers import CALLS_PER_MINUTE_MAX, EndpointClass, Tier


def test_every_tier_has_a_limit_for_every_class() -> None:
    """The limits are those that were agreed, reads and writes apart, and none is missing."""
    limits = [CALLS_PER_MINUTE_MAX[which] for which in product(Tier, EndpointClass)]

    assert limits == [120, 60, 1_200, 600, 6_000, 3_000]
    assert len(CALLS_PER_MINUTE_MAX) == len(limits)
