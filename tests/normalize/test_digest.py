from hashlib import sha256

import pytest

from normalize import EMPTY, as_digest, sha256_hex

DIGEST = sha256(b"x").hexdigest()


@pytest.mark.parametrize(
    "text",
    [DIGEST, DIGEST.upper(), f" \u00a0{DIGEST}\n", f"{DIGEST}.AQYCAQIA", f" {DIGEST.upper()}.12345678 "],
)
def test_a_digest_is_recognised_in_every_form(text: str) -> None:
    """Case, white space around and an appended tag of 8 characters do not hide a digest."""
    assert as_digest(text) == DIGEST


@pytest.mark.parametrize(
    "text",
    ["", DIGEST[:-1], DIGEST + "0", f"{DIGEST}.1234567", f"{DIGEST}.123456789", f"{DIGEST}12345678", "g" + DIGEST[1:]],
)
def test_what_is_no_digest_is_not_taken_for_one(text: str) -> None:
    """A digit more or less, or a tag of another length, makes it a raw value."""
    assert as_digest(text) is None


def test_the_digest_of_nothing_is_known() -> None:
    """EMPTY is the digest of the empty text, and is recognised as a digest."""
    assert sha256_hex("") == EMPTY == as_digest(EMPTY.upper())


def test_lone_surrogates_count_as_the_replacement_character() -> None:
    """A text that UTF-8 cannot hold has the digest of the text that a repair would make of it."""
    assert sha256_hex("a\ud800b\udfff") == sha256_hex("a\ufffdb\ufffd")
    assert sha256_hex("\ud83d\ude00") == sha256_hex("\U0001f600")
