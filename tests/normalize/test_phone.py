from hashlib import sha256

import pytest

from normalize import PhoneDigests, phone_digests


def digest(text: str) -> str:
    """Hash as a consumer would."""
    return sha256(text.encode()).hexdigest()


def test_the_published_sample() -> None:
    """The sample number of an ad platform has the known digests, without and with its plus."""
    found = phone_digests("+12133734253")
    assert found is not None
    assert found.digits == "1f81adb30e11317806be982cc82769fbf8627833a89dd87cb24d282f71828830"
    assert found.e164 == "9f7ec22d72092cd3c0b58726ed9c2d91b92e51a3f29837508fb2948bb22dd2fd"


@pytest.mark.parametrize(
    ("value", "digits", "e164", "national"),
    [
        ("+1 (213) 373-4253", "12133734253", "+12133734253", None),
        ("1 213 373 4253", "12133734253", None, None),
        (12133734253, "12133734253", None, None),
        (-12133734253, "12133734253", None, None),
        ("\u202a+1 213 373 4253\u202c", "12133734253", "+12133734253", None),
        (" \u200e\u2066 +1", "1", "+1", None),
        ("\x1c+1", "1", "+1", None),
        ("x+1", "1", None, None),
        ("+44 (0)20 7946 0018", "4402079460018", "+442079460018", None),
        ("0044 (0)20 7946 0018", "004402079460018", None, None),
        ("+86 138 0000 0000", "8613800000000", "+8613800000000", "13800000000"),
        ("86 138 0000 0000", "8613800000000", None, None),
        ("+86", "86", "+86", None),
        ("+(0)", "0", None, None),
        ("\uff0b\uff14\uff14\uff08\uff10\uff0920", "44020", "+4420", None),
        ("+\u0661\u0662\u0663", "123", "+123", None),
        ("12\u00b2\u2460", "12", None, None),
        ("+0000000000", "0000000000", "+0000000000", None),
    ],
)
def test_the_forms_of_a_number(value: str | int, digits: str, e164: str | None, national: str | None) -> None:
    """Digits of any script are folded; only a leading plus makes a number international; 86 has a national form."""
    expected = PhoneDigests(digest(digits), e164 and digest(e164), national and digest(national))
    assert phone_digests(value) == expected


@pytest.mark.parametrize("value", ["", "+", "n/a", "\u00b2\u2460", "\ud800", True, pytest.param(10**5000, id="huge")])
def test_no_digit_no_digest(value: str | int) -> None:
    """A text without decimal digits, a boolean, and an integer beyond any number have no digest, and do not raise."""
    assert phone_digests(value) is None
