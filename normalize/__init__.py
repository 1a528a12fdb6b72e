"""Normal forms and digests of personal identifiers, as pure functions of the standard library.

One value at a time:

>>> from normalize import email_digest, phone_digests
>>> email_digest(" Ann@Example.com ") == email_digest("ann@example.com")
True
>>> phone_digests("+1 213-373-4253").e164[:8]
'9f7ec22d'

A text, in which whatever identifies is hashed or cut out in place:

>>> from ipaddress import ip_address
>>> from normalize import OwnAddresses, scrub_text
>>> own = OwnAddresses([ip_address("203.0.113.7")])
>>> scrub_text("seen from 203.0.113.7", own)
('seen from ', (<Note.OWN_ADDRESS_REMOVED: 'own_address_removed'>,))

A whole object, member by member, at any depth:

>>> from normalize import identify
>>> identify({"event": "login", "context": {"client_ip": "203.0.113.7"}, "phone": "+1 213-373-4253"}).value
... # doctest: +NORMALIZE_WHITESPACE
{'event': 'login', 'context': {},
 'phone_sha256': '1f81adb30e11317806be982cc82769fbf8627833a89dd87cb24d282f71828830',
 'phone_e164_sha256': '9f7ec22d72092cd3c0b58726ed9c2d91b92e51a3f29837508fb2948bb22dd2fd'}

A value that is a digest already is never hashed again, nothing raises, and what was removed is told in notes, as codes.
`SCHEME` names the versions of these rules; store it beside the digests.
"""

from typing import Final

from normalize.address import NONE, OwnAddresses
from normalize.digest import EMPTY, as_digest, sha256_hex
from normalize.email import email_digest
from normalize.identity import Identified, advertising_ids, identify
from normalize.members import EXEMPT, Canonical, Family, family, fold, is_plain
from normalize.notes import Note
from normalize.phone import PhoneDigests, phone_digests
from normalize.scrub import SUSPECT, scrub_text

SCHEME: Final[dict[str, str]] = {
    "email": "email/1",
    "phone": "phone/1",
    "phone_e164": "phone_e164/1",
    "phone_national": "phone_national/1",
    "members": "members/1",
}
"""The versions of the normal forms and of the lists of names. Any change to a result is a new version."""

__all__ = [
    "EMPTY",
    "EXEMPT",
    "NONE",
    "SCHEME",
    "SUSPECT",
    "Canonical",
    "Family",
    "Identified",
    "Note",
    "OwnAddresses",
    "PhoneDigests",
    "advertising_ids",
    "as_digest",
    "email_digest",
    "family",
    "fold",
    "identify",
    "is_plain",
    "phone_digests",
    "scrub_text",
    "sha256_hex",
]
