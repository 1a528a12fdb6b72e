"""Names of idempotent work: different for different work, telling nothing, refused where the key is no key."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.counters.idempotency import NAME_PREFIX, entry_name

keys = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255)
parts = st.tuples(st.text(max_size=30), st.text(max_size=30), keys)


@given(one=parts, other=parts)
def test_names_are_digests_of_all_three(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    """Equal parts give equal names, other parts other names, and a name shows none of them."""
    assert (entry_name(*one) == entry_name(*other)) == (one == other)
    assert re.fullmatch(NAME_PREFIX + "[0-9a-f]{64}", entry_name(*one))


def test_parts_do_not_run_into_each_other() -> None:
    """Where one part ends and the next begins makes a difference."""
    assert len({entry_name("a", "bc", "d"), entry_name("ab", "c", "d"), entry_name("a", "b", "cd")}) == 3


@pytest.mark.parametrize("key", ["", "k" * 256, "two words", "tab\t", "line\n", "ключ", "k\x7f", "\x00"])
def test_a_key_that_is_none(key: str) -> None:
    """Anything but 1 to 255 visible ASCII characters is refused, without being repeated."""
    with pytest.raises(ValueError, match="1 to 255 visible ASCII") as refused:
        entry_name("key", "POST /v1/events", key)
    assert not key or key not in str(refused.value)
    assert entry_name("key", "POST /v1/events", "!" * 255)
