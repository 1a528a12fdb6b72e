"""The closed set of fates of a conversion at a platform, and of reasons for not sending one."""

import enum
from typing import NamedTuple


class Fate(enum.StrEnum):
    """How it ended. Whatever waits has no fate yet."""

    SENT = "sent"
    SKIPPED = "skipped"
    REFUSED = "refused"
    EXPIRED = "expired"


class Skip(enum.StrEnum):
    """Why a conversion was not sent although the platform could have been asked."""

    APP_UNKNOWN = "app_unknown"  # or retired
    PLATFORM_OFF = "platform_off"
    ERASED = "erased"
    CONSENT_DENIED = "consent_denied"
    CONSENT_MISSING = "consent_missing"
    TOO_OLD = "too_old"
    IN_FUTURE = "in_future"
    NO_VALUE = "no_value"
    NO_CURRENCY = "no_currency"
    NO_USER = "no_user"  # too little by which the platform could find anybody
    NO_PAGE = "no_page"
    NO_APP = "no_app"
    TOO_LARGE = "too_large"


class Outcome(NamedTuple):
    """One fate and why: a `Skip`, the platform's code (such as `100/2804003`), a reason of expiry; empty where sent."""

    fate: Fate
    reason: str = ""
