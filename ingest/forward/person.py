"""What is known of the user of a conversion beside it, and how it completes the conversion."""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from ingest.conversion import Conversion, ConversionRecord


class Person(NamedTuple):
    """A user, as far as earlier statements tell.

    `advertising` is the newest choice, None where there is none. Digests and texts are as in `Conversion`.
    """

    advertising: bool | None = None
    email_sha256: tuple[str, ...] = ()
    phone_sha256: tuple[str, ...] = ()
    phone_e164_sha256: tuple[str, ...] = ()
    phone_national_sha256: tuple[str, ...] = ()
    fbc: str | None = None
    fbp: str | None = None
    ttclid: str | None = None
    ttp: str | None = None
    locale: str | None = None
    is_erased: bool = False
    """Whether the conversion was received before its user was erased."""


NOBODY = Person()
PHONES: Final = ("phone_sha256", "phone_e164_sha256", "phone_national_sha256")
TEXTS: Final = ("fbc", "fbp", "ttclid", "ttp", "locale")


class People(Protocol):
    """Knows users by what they said before."""

    async def of(self, records: Sequence[ConversionRecord]) -> Sequence[Person]:
        """Return who is behind each record, in their order. Raises `Away`."""


def complete(conversion: Conversion, person: Person) -> Conversion:
    """Return the conversion with what it lacks of its user; phone digests come from one place, never mixed."""
    lacking: dict[str, object] = {
        name: said for name in TEXTS if (said := getattr(person, name)) and not getattr(conversion, name)
    }
    if not conversion.email_sha256 and person.email_sha256:
        lacking["email_sha256"] = person.email_sha256
    if not conversion.phone_sha256 and person.phone_sha256:
        lacking |= {name: getattr(person, name) for name in PHONES}
    return msgspec.structs.replace(conversion, **lacking) if lacking else conversion
