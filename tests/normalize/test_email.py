from hashlib import sha256

import pytest

from normalize import email_digest


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        (" John.Doe+x@Example.COM \n", "john.doe+x@example.com"),
        ("\u00a0\u3000ann@example.com\u2003", "ann@example.com"),
        ("STRAßE@example.com", "straße@example.com"),
        ("not an address", "not an address"),
        ("e\u0301@example.com", "e\u0301@example.com"),
    ],
)
def test_the_normal_form_is_stripped_and_lower_case(text: str, normal: str) -> None:
    """Nothing but white space around and case is changed: no dot or plus rule, no casefold, no normalization form."""
    assert email_digest(text) == sha256(normal.encode()).hexdigest()


@pytest.mark.parametrize("text", ["", " ", "\t\u00a0\u2028"])
def test_nothing_has_no_digest(text: str) -> None:
    """White space alone is never hashed."""
    assert email_digest(text) is None


def test_a_lone_surrogate_does_not_raise() -> None:
    """It counts as U+FFFD."""
    assert email_digest("\ud800@x") == email_digest("\ufffd@x")
