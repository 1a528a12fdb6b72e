"""What a conversion is worth."""

import math
from typing import Final, NamedTuple

from ingest.conversion import Conversion
from ingest.forward.outcome import Skip

QUANTITY_MAX: Final = 1_000_000_000

CURRENCIES: Final = frozenset(
    """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY COP
    CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR
    IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU
    MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG
    SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND VUV
    WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG
    """.split()
)
"""The money that people pay with, of ISO 4217; without funds, metals and codes for tests."""


class Money(NamedTuple):
    """An amount in a currency of `CURRENCIES`."""

    value: float | int
    currency: str


def money(event: Conversion) -> Money | Skip:
    """Return what the conversion is worth, or which part of that is missing: one says nothing without the other."""
    value, text = event.value, (event.currency or "").strip()
    currency = text.upper() if text.isascii() else ""  # upper() makes ASCII of letters that are none
    if value is None or isinstance(value, bool) or not 0 <= value < math.inf:
        return Skip.NO_VALUE
    return Money(value, currency) if currency in CURRENCIES else Skip.NO_CURRENCY


def quantity(event: Conversion) -> int | None:
    """Return how many were bought, None where that is unknown or no number of things."""
    count = event.quantity
    return count if count is not None and not isinstance(count, bool) and 0 < count <= QUANTITY_MAX else None
