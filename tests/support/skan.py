"""Postbacks as Apple sends them: Apple's own examples with their signatures, and others that the tests sign."""

import base64
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ingest.setting import SkanKey

TRANSACTION: Final = "6aafb7a5-0170-41b5-bbe4-fe71dedf1e28"

_FIRST: Final[dict[str, Any]] = {
    "ad-network-id": "com.example",
    "campaign-id": 42,
    "transaction-id": TRANSACTION,
    "app-id": 525463029,
    "redownload": True,
    "source-app-id": 1234567891,
    "conversion-value": 20,
}
_WEB: Final[dict[str, Any]] = {
    "version": "4.0",
    "ad-network-id": "com.example",
    "app-id": 525463029,
    "redownload": False,
    "source-domain": "example.com",
    "fidelity-type": 1,
    "did-win": True,
    "postback-sequence-index": 0,
}

APPLE_SIGNED: Final[tuple[dict[str, Any], ...]] = (
    {
        **_FIRST,
        "version": "2.2",
        "fidelity-type": 1,
        "attribution-signature": "MEYCIQDTuQ1Z4Tpy9D3aEKbxLl5J5iKiTumcqZikuY/AOD2U7QIhAJAaiAv89AoquHXJffcieEQXdWHp"
        "cV8ZgbKN0EwV9/sY",
    },
    {
        **_FIRST,
        "version": "3.0",
        "ad-network-id": "example123.skadnetwork",
        "fidelity-type": 1,
        "did-win": True,
        "attribution-signature": "MEYCIQD5eq3AUlamORiGovqFiHWI4RZT/PrM3VEiXUrsC+M51wIhAPMANZA9c07raZJ64gVaXhB9+9yZ"
        "j/X6DcNxONdccQij",
    },
    {
        "version": "3.0",
        "ad-network-id": "example123.skadnetwork",
        "campaign-id": 42,
        "transaction-id": "f9ac267a-a889-44ce-b5f7-0166d11461f0",
        "app-id": 525463029,
        "redownload": True,
        "fidelity-type": 1,
        "did-win": False,
        "attribution-signature": "MEUCIQDDetUtkyc/MiQvVJ5I6HIO1E7l598572Wljot2Onzd4wIgVJLzVcyAV+TXksGNoa0DTMXEPgNP"
        "eHCmD4fw1ABXX0g=",
    },
    {
        **_WEB,
        "source-identifier": "5239",
        "transaction-id": "6aafb7a5-0170-41b5-bbe4-fe71dedf1e30",
        "conversion-value": 63,
        "attribution-signature": "MEUCIGRmSMrqedNu6uaHyhVcifs118R5z/AB6cvRaKrRRHWRAiEAv96ne3dKQ5kJpbsfk4eYiePmrZUU"
        "6sQmo+7zfP/1Bxo=",
    },
    {
        **_WEB,
        "source-identifier": "39",
        "transaction-id": "6aafb7a5-0170-41b5-bbe4-fe71dedf1e31",
        "coarse-conversion-value": "high",
        "attribution-signature": "MEUCIQD4rX6eh38qEhuUKHdap345UbmlzA7KEZ1bhWZuYM8MJwIgMnyiiZe6heabDkGwOaKBYrUXQhKt"
        "F3P/ERHqkR/XpuA=",
    },
)
"""The examples of Apple's documentation, whose signatures hold under the key that is published with them."""

SIGNED_MEMBERS: Final = {
    "2.0": "version ad-network-id campaign-id app-id transaction-id redownload source-app-id",
    "2.1": "version ad-network-id campaign-id app-id transaction-id redownload source-app-id",
    "2.2": "version ad-network-id campaign-id app-id transaction-id redownload source-app-id fidelity-type",
    "3.0": "version ad-network-id campaign-id app-id transaction-id redownload source-app-id fidelity-type did-win",
    "4.0": "version ad-network-id source-identifier app-id transaction-id redownload source-app-id source-domain"
    " fidelity-type did-win postback-sequence-index",
}
"""The order of what is signed, as Apple tells it."""


class Signer:
    """Signs postbacks as Apple would, by a key of its own."""

    def __init__(self) -> None:
        self._key: EllipticCurvePrivateKey = generate_private_key(SECP256R1())

    def key(self, version: str) -> SkanKey:
        """Return the public key, for postbacks of a version and later ones."""
        return SkanKey(version, self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

    def setting(self, version: str = "2.0") -> str:
        """Return it as the setting has it."""
        return f"{version}:{base64.b64encode(self.key(version).der).decode()}"

    def signed(self, version: str, **members: Any) -> dict[str, Any]:
        """Return a signed postback; `members` have `_` for `-`, those that are None are left out."""
        sample = (
            {**_FIRST, "fidelity-type": 1, "did-win": True} if version < "4" else {**_WEB, "source-identifier": "5239"}
        )
        named = {name.replace("_", "-"): value for name, value in members.items()}
        whole = {"transaction-id": TRANSACTION, **sample, "version": version, **named}
        postback = {name: value for name, value in whole.items() if value is not None}
        said = [postback[name] for name in SIGNED_MEMBERS[version].split() if name in postback]
        text = "\u2063".join(str(value).lower() if type(value) is bool else str(value) for value in said)
        signature = self._key.sign(text.encode(), ECDSA(SHA256()))
        return {**postback, "attribution-signature": base64.b64encode(signature).decode()}
