import pytest

from normalize.percent import LEVELS_MAX, Edit, replaced, unquoted, views


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("a%40b", "a@b"),
        ("a%2540b", "a@b"),
        ("a%252540b", "a@b"),
        ("a%25252540b", "a%40b"),
        ("%C3%A9%e2%82%ac%F0%9F%98%80", "é€\U0001f600"),
        ("%ff%41", "\udcffA"),
        ("100%", "100%"),
        ("%4", "%4"),
    ],
)
def test_decoding(text: str, decoded: str) -> None:
    """Three levels are decoded, UTF-8 as characters, other bytes as lone surrogates, and the rest stays."""
    assert unquoted(text) == decoded
    assert len(views(text)) <= LEVELS_MAX + 1


@pytest.mark.parametrize("before", ["", "x", "%C3%A9", "%ff", "%2520"])
@pytest.mark.parametrize("target", ["@", "%40", "%2540", "%252540"])
def test_an_edit_lands_where_its_text_came_from(before: str, target: str) -> None:
    """What stands around an encoded character is kept byte by byte."""
    source = f"{before}a{target}b%20"
    view = views(source)[-1]
    at = view.text.index("@")
    assert replaced(source, view, [Edit(at, at + 1, "!")]) == f"{before}a!b%20"
