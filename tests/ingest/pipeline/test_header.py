from ipaddress import ip_address

import pytest

from ingest.pipeline.header import CHARS_MAX, header_text, without_own
from normalize import OwnAddresses, email_digest

OWN = OwnAddresses([ip_address("203.0.113.77"), ip_address("2001:db8::17")])


@pytest.mark.parametrize("value", [b"ios/1.2.3", b"production", b"web-sdk (beta) 2_1", b"a", b"x" * CHARS_MAX])
def test_a_plain_value_is_kept(value: bytes) -> None:
    """What identifies nobody stays as it is."""
    assert header_text(value, OWN) == value.decode()


def test_a_header_is_read_as_utf_8() -> None:
    """Letters beyond ASCII make the same digest as in an event, and a full-width plus is seen."""
    assert header_text("müller@example.com".encode(), OWN) == f"sha256:{email_digest('müller@example.com')}"
    assert (header_text("\uff0b4915112345678".encode(), OWN) or "").startswith("sha256:")
    assert header_text("müller".encode("latin-1"), OWN) == "müller"


def test_a_header_that_names_an_own_address_is_passed_over() -> None:
    """A parser might take parts of it for a version."""
    assert without_own(b"MyApp/203.0.113.77 CFNetwork/1", OWN) is None
    assert without_own(b"MyApp/1.2 CFNetwork/1", OWN) == b"MyApp/1.2 CFNetwork/1"
    assert without_own(None, OWN) is None


@pytest.mark.parametrize("value", [None, b"", b"203.0.113.77", b"00000000-0000-0000-0000-000000000000"])
def test_nothing_is_nothing(value: bytes | None) -> None:
    """An absent or empty header, and one of which nothing is left, is None."""
    assert header_text(value, OWN) is None


@pytest.mark.parametrize(
    "value",
    [
        *(b"ios/203.0.113.77", b"203.0.113.077 x", b"by [2001:DB8:0:0::17]", b"::ffff:cb00:714d", b"203%2E0.113.77"),
        *(
            b"to ann@example.com",
            b"ann%40example.com",
            b"ann%2540example.com",
            b"call +1 (415) 555-0132",
            b"%2B14155550132",
        ),
        *(
            b"a?email=ann",
            b"?ip=198.51.100.7&x=1",
            b"?idfa=6D92078A-8246-4BA4-AE5B-76104861E7DC",
            b"?imei=490154203237518",
        ),
    ],
)
def test_what_identifies_does_not_stay(value: bytes) -> None:
    """Own addresses go; e-mail addresses, phone numbers and parameters follow their rules, percent-encoded too."""
    text = header_text(value, OWN) or ""
    for raw in ("113", "db8", "714d", "ann", "555", "100.7", "6d92078a", "490154"):
        assert (
            raw
            not in text.replace(str(email_digest("ann@example.com")), "")
            .replace(str(email_digest("ann")), "")
            .lower()[:60]
        )


@pytest.mark.parametrize(
    "secret", [b"ann.smith@example.com", b"203.0.113.77", b"+14155550132", b"ann.smith%40example.com"]
)
def test_a_long_value_is_cut_behind_the_rules(secret: bytes) -> None:
    """Where a value is cut, no half of an identifier is left, wherever it stands."""
    for before in range(CHARS_MAX - len(secret) - 8, CHARS_MAX + 2):
        text = header_text(b"x" * (before - 1) + b" " + secret + b" tail", OWN) or ""
        assert len(text) <= CHARS_MAX
        for part in ("ann", "smith", "203.", "+1415"):
            assert part not in text


def test_any_bytes_are_a_text() -> None:
    """What is not ASCII is read as Latin-1 and does not raise."""
    assert header_text(bytes(range(128, 256)), OWN) == bytes(range(128, 256)).decode("latin-1")
