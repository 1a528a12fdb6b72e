"""The list of currencies."""

import pycountry

from ingest.forward.platforms.money import CURRENCIES

NO_MONEY = frozenset(
    "BOV CHE CHW CLF COU MXV USN UYI UYW XAD XAG XAU XBA XBB XBC XBD XDR XPD XPT XSU XTS XUA".split()
) | {"X" * 3}
"""Funds, metals, units of account, the code for tests and that for no currency."""


def test_currencies_are_those_of_the_standard() -> None:
    """The list is that of ISO 4217 without what nobody pays with."""
    assert {each.alpha_3 for each in pycountry.currencies} - NO_MONEY == CURRENCIES
