"""How long an answer asks to wait."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.forward.platforms.answer import RETRY_AFTER_S_MAX, retry_after_s

SENT = "Wed, 18 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("9" * 400, RETRY_AFTER_S_MAX),
        ("Wed, 18 Nov 2026 12:01:30 GMT", 90.0),
        ("Wed, 18 Nov 2026 13:01:30 +0100", 90.0),
        ("Wed, 18 Nov 2026 12:01:30 -0000", 90.0),
        ("Wed, 18 Nov 2026 11:00:00 GMT", 0.0),
        ("Fri, 18 Dec 2026 12:00:00 GMT", RETRY_AFTER_S_MAX),
        ("-5", None),
        ("1.5", None),
        ("\u0663", None),
        ("soon", None),
        ("", None),
    ],
)
def test_the_wait(text: str, wait_s: float | None) -> None:
    """Seconds or a date, up to a bound; anything else says nothing."""
    assert retry_after_s({"retry-after": text, "date": SENT}) == wait_s


def test_a_date_alone() -> None:
    """Without the answer's own date a date says nothing, for the clocks here and there may differ."""
    assert retry_after_s({"retry-after": SENT}) is None
    assert retry_after_s({"retry-after": SENT, "date": "now"}) is None
    assert retry_after_s({}) is None


@given(st.text(), st.text() | st.just(SENT))
def test_no_header_raises(text: str, sent: str) -> None:
    """Whatever stands there, the wait is within its bounds."""
    wait_s = retry_after_s({"retry-after": text, "date": sent})

    assert wait_s is None or 0 <= wait_s <= RETRY_AFTER_S_MAX
