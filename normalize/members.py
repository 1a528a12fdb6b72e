"""Member names that tell what their value is: scheme `members/1`.

The lists are closed and versioned. Names match without regard to case, `_`, `-`, `$` and white space; of names with
parts, such as `user.email`, `user[email]` or `email.0`, the first part that is in a list decides.
"""

import enum
import re
from functools import lru_cache
from typing import Final, NamedTuple


class Family(enum.Enum):
    """What the value of a member identifies, by the member's name."""

    EMAIL = "email"
    PHONE = "phone"
    ADDRESS = "address"
    ADVERTISING = "advertising"
    HARDWARE = "hardware"


class Canonical(enum.StrEnum):
    """The members that hold digests, in the order in which they stand in an object."""

    EMAIL = "email_sha256"
    PHONE = "phone_sha256"
    PHONE_E164 = "phone_e164_sha256"
    PHONE_NATIONAL = "phone_national_sha256"


class Member(NamedTuple):
    """A name that belongs to a family: `name[start:end]` is the part that does.

    `canonical` is the digest member that takes its place, None for a family whose members are removed.
    """

    family: Family
    canonical: Canonical | None
    start: int
    end: int


EXEMPT: Final = frozenset({"user_id", "app_user_id", "revenuecat_original_app_user_id"})
"""Members, in exactly this spelling, whose strings and numbers are the app's own ids: kept whatever they hold."""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


FAMILIES: Final[dict[Family, frozenset[str]]] = {
    Family.EMAIL: _names(
        "email emails mail emailaddress emailaddresses useremail customeremail contactemail billingemail primaryemail"
        " workemail"
    ),
    Family.PHONE: _names(
        "phone phones phonenumber phonenumbers userphone customerphone contactphone billingphone homephone workphone"
        " mobile mobilenumber mobilephone cell cellphone msisdn tel telephone telephonenumber"
    ),
    Family.ADDRESS: _names(
        "ip ips ipaddress ipaddr ipv4 ipv6 clientip clientipaddress userip useripaddress remoteip remoteaddr"
        " remoteaddress sourceip srcip deviceip lastip localip publicip xforwardedfor xrealip cfconnectingip"
        " trueclientip forwarded"
    ),
    Family.ADVERTISING: _names(
        "idfa idfv gaid aaid adid gpsadid madid ifa rdid advertisingid advertisingidentifier googleadvertisingid"
        " androidadvertisingid"
    ),
    Family.HARDWARE: _names("imei imsi meid macaddress wifimac androidid serialnumber deviceserial udid hardwareid"),
}
"""The folded names of each family."""

HASHED: Final[dict[str, Canonical]] = {
    "emailhash": Canonical.EMAIL,
    "emailsha256": Canonical.EMAIL,
    "phonehash": Canonical.PHONE,
    "phonesha256": Canonical.PHONE,
    "phonee164sha256": Canonical.PHONE_E164,
    "phonenationalsha256": Canonical.PHONE_NATIONAL,
}
"""The folded names of members that may hold a digest already."""

_CACHED_CHARS_MAX = 64
_CACHED_NAMES_MAX = 4096

_Kind = tuple[Family, Canonical | None]
_TAKEN_BY = {Family.EMAIL: Canonical.EMAIL, Family.PHONE: Canonical.PHONE}
_KINDS: dict[str, _Kind] = {
    name: (family, _TAKEN_BY.get(family)) for family, names in FAMILIES.items() for name in names
} | {
    name: (Family.EMAIL if canonical is Canonical.EMAIL else Family.PHONE, canonical)
    for name, canonical in HASHED.items()
}

_ignored = re.compile(r"[_\-$\s]+").sub
_parts = re.compile(r"[^.\[\]]+").finditer
_has_parts = re.compile(r"[.\[\]]").search
_is_simple = re.compile(r"[A-Za-z0-9_$ -]{0,64}").fullmatch
_has_id = re.compile(r"[0-9A-Fa-f-]{8}").search


def fold(name: str) -> str:
    """Return the form in which names are compared.

    >>> fold("$E-Mail Address")
    'emailaddress'
    """
    return _ignored("", name.casefold())


def match(name: str) -> Member | None:
    """Return what `name` tells of its value, and which part of it does; None for any other name.

    >>> match("user[email]")
    Member(family=<Family.EMAIL: 'email'>, canonical=<Canonical.EMAIL: 'email_sha256'>, start=5, end=10)
    """
    # Only what looks like a name is remembered: other keys may hold an address or a person's data.
    if len(name) <= _CACHED_CHARS_MAX and name.isidentifier():
        return _match_cached(name)
    return _match(name)


def family(name: str) -> Family | None:
    """Return the family of `name`, or None.

    >>> family("traits[phone][]")
    <Family.PHONE: 'phone'>
    >>> family("phone_model") is None
    True
    """
    member = match(name)
    return member.family if member else None


def _match(name: str) -> Member | None:
    kind = _KINDS.get(fold(name))
    if kind is not None:
        return Member(*kind, 0, len(name))
    if _has_parts(name):
        for part in _parts(name):
            kind = _KINDS.get(fold(part[0]))
            if kind is not None:
                return Member(*kind, *part.span())
    return None


_match_cached = lru_cache(maxsize=_CACHED_NAMES_MAX)(_match)


def is_plain(name: str) -> bool:
    """Tell whether a member's name is surely left as it is, and tells nothing of its value.

    True only for at most 64 ASCII letters, digits, `_`, `$`, `-` and spaces, in no family, without a run of 8 hex
    digits and dashes that could be an id. False says nothing. One thing is left to the caller: an advertising id
    that is no run of at least 8 hex digits and dashes may stand in a plain name.

    >>> is_plain("product_id"), is_plain("client_ip"), is_plain("ann@example.com")
    (True, False, False)
    """
    if len(name) <= _CACHED_CHARS_MAX and name.isidentifier():
        return _is_plain_cached(name)
    return _is_plain(name)


def _is_plain(name: str) -> bool:
    return _is_simple(name) is not None and _has_id(name) is None and match(name) is None


_is_plain_cached = lru_cache(maxsize=_CACHED_NAMES_MAX)(_is_plain)
