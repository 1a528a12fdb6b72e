import base64
import hashlib

import pytest

from ingest.transport.contract import ConfigurationError
from ingest.transport.sealed import Sealed, SealKeys, Tampered, UnknownKey

OLD, NEW = SealKeys.generate(), SealKeys.generate()


def test_what_is_sealed_opens_with_the_same_key() -> None:
    """Seal and open are inverse, and the sealed bytes do not show the text."""
    keys = SealKeys.parse(NEW)
    sealed = keys.seal(b"plaintext", b"bound")
    assert keys.open(sealed, b"bound") == b"plaintext"
    assert b"plaintext" not in sealed.box


def test_the_first_key_seals_and_all_open() -> None:
    """A list lets a key be replaced: what the old key sealed still opens, new seals carry the new key's id."""
    before = SealKeys.parse(OLD).seal(b"old", b"")
    keys = SealKeys.parse(f"{NEW}, {OLD}")
    assert keys.open(before, b"") == b"old"
    assert keys.seal(b"new", b"").key_id == SealKeys.parse(NEW).first_id != before.key_id


def test_a_key_is_named_by_its_digest() -> None:
    """The id is the first 8 bytes of the key's SHA-256, in hex."""
    assert SealKeys.parse(NEW).first_id == hashlib.sha256(base64.b64decode(NEW)).hexdigest()[:16]


def test_a_key_that_was_not_given_is_no_damage() -> None:
    """A missing key is told apart from a broken seal, and its id is named."""
    sealed = SealKeys.parse(OLD).seal(b"text", b"")
    with pytest.raises(UnknownKey, match=sealed.key_id):
        SealKeys.parse(NEW).open(sealed, b"")


@pytest.mark.parametrize("position", [0, 11, 12, 16, -1])
def test_a_flipped_bit_breaks_the_seal(position: int) -> None:
    """Nonce, ciphertext and tag are all protected."""
    keys = SealKeys.parse(NEW)
    sealed = keys.seal(b"plaintext", b"bound")
    box = bytearray(sealed.box)
    box[position] ^= 1
    with pytest.raises(Tampered):
        keys.open(Sealed(sealed.key_id, bytes(box)), b"bound")


@pytest.mark.parametrize("box", [b"", b"short", b"twelve bytes"])
def test_too_short_a_box_breaks_the_seal(box: bytes) -> None:
    """A cut text is damage like any other."""
    keys = SealKeys.parse(NEW)
    with pytest.raises(Tampered):
        keys.open(Sealed(keys.first_id, box), b"")


def test_a_text_opens_only_with_what_it_is_bound_to() -> None:
    """A seal cannot be moved to another place."""
    keys = SealKeys.parse(NEW)
    with pytest.raises(Tampered):
        keys.open(keys.seal(b"plaintext", b"here"), b"there")


def test_no_nonce_is_used_twice() -> None:
    """The same text seals differently each time."""
    keys = SealKeys.parse(NEW)
    assert len({keys.seal(b"same", b"").box[:12] for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "key 1 has 0 bytes instead of 32"),
        (f"{NEW},", "key 2 has 0 bytes instead of 32"),
        (f"{NEW},secret!", "key 2 is not base64"),
        (f"{NEW},schlüssel", "key 2 is not base64"),
        (base64.b64encode(b"too short").decode(), "key 1 has 9 bytes instead of 32"),
        (f"{NEW},{NEW}", "the same key is given twice"),
    ],
)
def test_a_bad_key_is_refused_by_position(text: str, message: str) -> None:
    """An error names the position and the reason, never what was given."""
    with pytest.raises(ConfigurationError) as refused:
        SealKeys.parse(text)
    assert str(refused.value) == message


def test_keys_do_not_show() -> None:
    """The printed form has ids only."""
    assert NEW not in repr(SealKeys.parse(NEW))
    assert SealKeys.parse(NEW).first_id in repr(SealKeys.parse(NEW))
