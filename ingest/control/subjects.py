"""Under which ids and digests a person stands in rows, from what people know of somebody."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Literal

from ingest.control.record import ControlError
from normalize import EMPTY, as_digest, email_digest, phone_digests

KnownBy = Literal["email", "phone", "user-id"]


class NoSubject(ControlError):  # noqa: N818 - named for what is wrong
    """There is nobody whom such a value could mean. The message does not tell the value."""


def subjects_of(known_by: KnownBy, value: str) -> tuple[str, ...]:
    """Return every id or digest that records can hold of this value. Raises `NoSubject`.

    A digest that is given as an e-mail address or a phone number counts as it is, as it does in an event.
    """
    found = _SUBJECTS[known_by](value)
    if not found:
        raise NoSubject(_NOTHING[known_by])
    return found


def _email(value: str) -> tuple[str, ...]:
    digest = as_digest(value) or email_digest(value)
    return () if digest is None or digest == EMPTY else (digest,)


def _phone(value: str) -> tuple[str, ...]:
    given = as_digest(value)
    if given is not None:
        return () if given == EMPTY else (given,)
    digests = phone_digests(value)
    return () if digests is None else tuple(dict.fromkeys(each for each in digests if each is not None))


def _user_id(value: str) -> tuple[str, ...]:
    return () if not value or "\0" in value else (value,)


_SUBJECTS: Final[Mapping[KnownBy, Callable[[str], tuple[str, ...]]]] = MappingProxyType(
    {"email": _email, "phone": _phone, "user-id": _user_id}
)
_NOTHING: Final[Mapping[KnownBy, str]] = MappingProxyType(
    {
        "email": "the e-mail address is empty: there is nothing to hash",
        "phone": "the phone number has no digit: there is nothing to hash",
        "user-id": "the user id is empty, or holds a zero character, which no row has",
    }
)
