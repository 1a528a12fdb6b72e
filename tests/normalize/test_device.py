import pytest

from normalize.device import ZERO_ID, hunted_forms, zero_id_spans

BARE = ZERO_ID.replace("-", "")


@pytest.mark.parametrize("text", [ZERO_ID, BARE, f"id={ZERO_ID}.", f"({BARE})", f"x{ZERO_ID}y"])
def test_the_zero_id_is_found_anywhere(text: str) -> None:
    """With dashes or without, alone or inside a text."""
    ((start, end),) = zero_id_spans(text)
    assert text[start:end] in {ZERO_ID, BARE}


@pytest.mark.parametrize("text", ["", BARE[1:], BARE + "0", "a" + BARE, ZERO_ID[:-1] + "1", "1" + "0" * 40])
def test_other_zeros_are_left_alone(text: str) -> None:
    """A number or a digest with many zeros is no advertising id."""
    assert list(zero_id_spans(text)) == []


def test_what_is_looked_for() -> None:
    """Ids in lower case, with dashes and without; no zero id, no placeholder, nothing empty."""
    assert hunted_forms(["6D92078A82464BA4AE5B76104861E7DC", " ", "Unknown", ZERO_ID, BARE, "Ab1"]) == (
        "ab1",
        "6d92078a82464ba4ae5b76104861e7dc",
        "6d92078a-8246-4ba4-ae5b-76104861e7dc",
    )
