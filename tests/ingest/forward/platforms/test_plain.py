"""What may go to a platform in clear, told at a glance or by the whole look: both say the same."""

from hypothesis import given
from hypothesis import strategies as st

from ingest.forward.platforms.plain import _is_simple
from normalize import NONE, scrub_text

PIECES = st.sampled_from(
    [
        "0",
        "00000000",
        "-",
        "0000-0000",
        "12345678",
        "+",
        "a@b.c",
        "%40",
        "=",
        "ip",
        "1.2.3.4",
        "::1",
        " ",
        "(0)",
        "idfa",
    ]
)


@given(st.text(max_size=200) | st.lists(PIECES | st.text(max_size=8), max_size=30).map("".join))
def test_what_is_simple_at_a_glance_stays_as_it_is(text: str) -> None:
    """Nothing that the whole look would change is taken for simple."""
    if _is_simple(text):
        assert scrub_text(text, NONE)[0] == text
