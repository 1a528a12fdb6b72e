"""Apple's signature: its own examples hold, ours hold in every version, and nothing else does."""

import base64
import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ingest.persist.skan_signature import SkanVerifier, Verdict, signed_text
from ingest.setting import SkanKey
from ingest.settings import APPLE_SKAN_KEY
from tests.support.skan import APPLE_SIGNED, SIGNED_MEMBERS, Signer

VERSIONS = tuple(SIGNED_MEMBERS)


@pytest.fixture(scope="module")
def signer() -> Signer:
    """Provide a key."""
    return Signer()


@pytest.mark.parametrize("postback", APPLE_SIGNED)
def test_apples_own_examples_hold(postback: dict[str, Any]) -> None:
    """Under the published key, and no longer once a signed member is another."""
    verifier = SkanVerifier([APPLE_SKAN_KEY])
    assert verifier.judge(postback) is Verdict.VALID
    assert verifier.judge({**postback, "redownload": not postback["redownload"]}) is Verdict.INVALID


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_holds(signer: Signer, version: str) -> None:
    """With the optional members and without; a conversion value is not signed."""
    verifier = SkanVerifier([signer.key("2.0")])
    for more in ({}, {"source_app_id": None, "source_domain": None}, {"source_app_id": 0}, {"redownload": True}):
        postback = signer.signed(version, **more)
        assert verifier.judge(postback) is Verdict.VALID
        assert verifier.judge({**postback, "conversion-value": 1}) is Verdict.VALID


@pytest.mark.parametrize("version", VERSIONS)
def test_every_signed_member_counts(signer: Signer, version: str) -> None:
    """One that is missing or another makes the signature invalid, an optional one that is missing too."""
    verifier = SkanVerifier([signer.key("2.0")])
    postback = signer.signed(version)
    for name in SIGNED_MEMBERS[version].split():
        if name in postback and name != "version":
            assert verifier.judge({**postback, name: "x"}) is Verdict.INVALID
            assert verifier.judge({key: postback[key] for key in postback if key != name}) is Verdict.INVALID
    assert verifier.judge({**postback, "version": VERSIONS[VERSIONS.index(version) - 1]}) is Verdict.INVALID


@pytest.mark.parametrize("signature", [None, 1, "", "nope", "MEUC", "é", base64.b64encode(b"\x30" * 70).decode()])
def test_what_is_no_signature_is_invalid(signer: Signer, signature: object) -> None:
    """Whatever stands in its place."""
    postback = {**signer.signed("4.0"), "attribution-signature": signature}
    assert SkanVerifier([signer.key("2.0")]).judge(postback) is Verdict.INVALID


def test_without_a_key_nothing_is_checked(signer: Signer) -> None:
    """A key is for its version and later ones; the latest that fits decides."""
    other = Signer()
    both = SkanVerifier([signer.key("3.0"), other.key("2.1")])

    assert SkanVerifier([]).judge(signer.signed("4.0")) is Verdict.UNCHECKED
    assert both.judge(signer.signed("2.0")) is Verdict.UNCHECKED
    assert [both.judge(other.signed(version)) for version in ("2.1", "2.2", "3.0")] == ["valid", "valid", "invalid"]
    assert [both.judge(signer.signed(version)) for version in ("2.2", "3.0", "4.0")] == ["invalid", "valid", "valid"]
    assert both.judge({}) is Verdict.UNCHECKED
    assert both.judge({"version": "9.9"}) is Verdict.INVALID


def test_another_curve_is_refused() -> None:
    """And so is what is no key at all."""
    key = generate_private_key(SECP384R1()).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for each in (der, b"", b"\0" * 91, APPLE_SKAN_KEY.der[:-1] + b"\0"):
        with pytest.raises(ValueError, match=r"."):
            SkanVerifier([SkanKey("2.1", each)])


def test_what_is_signed_is_spelled_as_apple_spells_it() -> None:
    """Joined by the invisible separator, booleans as words."""
    text = signed_text(APPLE_SIGNED[2])
    expected = ["3.0", "example123.skadnetwork", "42", "525463029", "f9ac267a-a889-44ce-b5f7-0166d11461f0"]
    assert text == "\u2063".join([*expected, "true", "1", "false"])
    assert hashlib.sha256(text.encode()).digest()  # it has a UTF-8 form
