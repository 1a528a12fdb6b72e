"""One value of an e-mail or phone member, as the digest members that take its place."""

from normalize.digest import EMPTY, as_digest
from normalize.email import email_digest
from normalize.members import Canonical
from normalize.phone import phone_digests


def digests_of(canonical: Canonical, value: str | int) -> dict[Canonical, str]:
    """Return the digests of `value` by member name; none when there is nothing to hash.

    A value that is a digest already is kept, in lower case, under `canonical`, and never hashed again; the digest of
    the empty text counts as nothing. Members for the E.164 and national forms take digests only, since a raw number
    in them does not tell which of its forms it has. Integers are phone numbers and never e-mail addresses.

    >>> list(digests_of(Canonical.PHONE, "+86 138 0000 0000"))  # doctest: +NORMALIZE_WHITESPACE
    [<Canonical.PHONE: 'phone_sha256'>, <Canonical.PHONE_E164: 'phone_e164_sha256'>,
     <Canonical.PHONE_NATIONAL: 'phone_national_sha256'>]
    """
    if isinstance(value, str):
        digest = as_digest(value)
        if digest is not None:
            return {canonical: digest} if digest != EMPTY else {}
    if canonical is Canonical.PHONE:
        return _phone(value)
    if canonical is Canonical.EMAIL and isinstance(value, str):
        digest = email_digest(value)
        return {canonical: digest} if digest is not None else {}
    return {}


def _phone(value: str | int) -> dict[Canonical, str]:
    forms = phone_digests(value)
    if forms is None:
        return {}
    digests = {Canonical.PHONE: forms.digits}
    if forms.e164 is not None:
        digests[Canonical.PHONE_E164] = forms.e164
    if forms.national is not None:
        digests[Canonical.PHONE_NATIONAL] = forms.national
    return digests
