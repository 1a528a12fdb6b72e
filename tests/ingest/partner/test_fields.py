"""Reading parameters and bodies: everything that does not hold up is told at once, and never with its value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import Code, Refusal
from ingest.partner.fields import PAGE_DEFAULT, Fields, pack, read_object, unpack, write_cursor


def faults(fields: Fields) -> list[str]:
    """Return the paths that are told."""
    with pytest.raises(Refusal) as refused:
        fields.done()
    assert refused.value.code is Code.VALIDATION
    assert refused.value.details is not None
    errors = refused.value.details["errors"]
    assert isinstance(errors, list)
    return [each.path for each in errors]


def test_all_at_once() -> None:
    """Every fault is told in one answer, unknown members included, whose names are not repeated."""
    fields = Fields({"limit": "0", "since": "yesterday", "action": "", "cursor": "!", "other": "x", "a b": "y"})
    fields.page_size()
    fields.time("since")
    fields.text("action")
    fields.cursor(1)
    assert faults(fields) == ["limit", "since", "action", "cursor", "*", "*"]


def test_what_holds_up() -> None:
    """Absent members have their defaults, times without an offset are UTC."""
    fields = Fields({"since": "2026-11-24T10:00:00", "limit": "7"})
    assert (fields.page_size(), fields.text("action"), fields.cursor(2)) == (7, None, None)
    since = fields.time("since")
    assert since is not None
    assert since.isoformat() == "2026-11-24T10:00:00+00:00"
    fields.done()
    assert Fields({}).page_size() == PAGE_DEFAULT


@pytest.mark.parametrize("limit", ["0", "201", "-1", "1.0", "٣", "9" * 50, ""])
def test_page_sizes_are_bounded(limit: str) -> None:
    """A page has 1 to 200 rows."""
    fields = Fields({"limit": limit})
    fields.page_size()
    assert faults(fields) == ["limit"]


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=40),
        min_size=1,
        max_size=3,
    )
)
def test_cursors_read_as_written(parts: list[str]) -> None:
    """A cursor is read back in its parts."""
    fields = Fields({"cursor": write_cursor(*parts)})
    assert fields.cursor(len(parts)) == parts
    fields.done()


@given(st.text(max_size=60))
def test_any_cursor_is_read(text: str) -> None:
    """No text makes reading raise; what is no cursor of one printable part is a fault."""
    fields = Fields({"cursor": text})
    parts = fields.cursor(1)
    assert parts is None or (len(parts) == 1 and parts[0].isprintable())


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=200))
def test_any_text_is_a_part_of_a_cursor(text: str) -> None:
    """Packed it has no line end, and is read as it was."""
    cursor = write_cursor("2026-11-24 10:00:00+00", "a" * 64, pack(text))
    parts = Fields({"cursor": cursor}).cursor(3)

    assert parts is not None
    assert unpack(parts[2]) == text


@pytest.mark.parametrize("part", ["", "a", ".a", ".AA==", "YQ==", ".\u00e9", "./w=="])
def test_what_was_not_packed_is_no_text(part: str) -> None:
    """Neither zero characters nor other bytes come out."""
    assert unpack(part) is None


@pytest.mark.parametrize("body", [b"", b"  ", b"{}"])
def test_an_empty_body_is_an_empty_object(body: bytes) -> None:
    """A call without a body has no members."""
    assert read_object(body) == {}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", Code.INVALID_JSON),
        (b"\xff", Code.INVALID_JSON),
        (b"[" * 100_000, Code.INVALID_JSON),
        (b"[]", Code.VALIDATION),
    ],
)
def test_other_bodies_are_refused(body: bytes, code: Code) -> None:
    """What is no JSON, or no object, is told apart."""
    with pytest.raises(Refusal) as refused:
        read_object(body)
    assert refused.value.code is code
