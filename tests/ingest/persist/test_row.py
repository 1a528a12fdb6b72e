"""A record as a line of COPY: what becomes a column, what is escaped, and what can be no row."""

import json

import pytest

from ingest.persist.row import COLUMNS, Unusable, to_row
from ingest.transport.contract import SCHEMA, Delivered, Topic
from tests.ingest.pipeline.batches import body, body_of, event
from tests.support.rows import delivered

DIGEST = "ab" * 32


def columns(record: Delivered) -> dict[str, str]:
    """Return the fields of a record's line by their column."""
    line = to_row(record).line
    assert line.endswith(b"\n")
    return dict(zip(COLUMNS, line[:-1].decode().split("\t"), strict=True))


def column_of(**members: object) -> dict[str, str]:
    """Return the fields of an event with these members."""
    (record,) = delivered(body(event(**members)))
    return columns(record)


def test_members_become_columns() -> None:
    """What is asked for stands in columns, and the event as a whole in one of its own."""
    given = column_of(event_id="e1", user_id="u", app_user_id=7, install_id="i", session_id="s", platform="ios")
    assert given["event_id"] == "e1"
    assert (given["user_id"], given["app_user_id"], given["install_id"], given["session_id"]) == ("u", "7", "i", "s")
    assert (given["name"], given["source"], given["platform"]) == ("view", "sdk", "ios")
    assert json.loads(given["event"])["app_user_id"] == 7
    assert json.loads(given["meta"])["event_id"] == "e1"
    assert given["digests"] == "\\N"


@pytest.mark.parametrize("value", [None, True, [], {}, [1], {"a": "b"}])
def test_an_id_of_another_type_stays_in_the_event(value: object) -> None:
    """What is neither text nor number is no id."""
    assert column_of(user_id=value)["user_id"] == "\\N"


def test_all_digests_are_found() -> None:
    """Digests at any depth, in texts too, are listed once each, in order; longer runs of hex are none."""
    given = column_of(
        email_sha256=DIGEST,
        properties={"phone": "+49 151 12345678", "text": "write to a@b.de", "again": DIGEST, "long": "c" * 65},
    )
    found = given["digests"].strip("{}").split(",")
    assert DIGEST in found
    assert len(found) == len(set(found)) == 4
    assert found == sorted(found)


@pytest.mark.parametrize(
    ("sent", "ts", "day"),
    [
        ("2026-11-24T10:00:00.123Z", "2026-11-24 10:00:00.123+00", "2026-11-24"),
        ("2026-11-24 10:00", "2026-11-24 10:00:00+00", "2026-11-24"),
        ("2026-11-24t10:00:60z", "2026-11-24 10:00:60+00", "2026-11-24"),
        ("2026-11-24T23:30:00-02:00", "2026-11-24 23:30:00-02:00", "2026-11-25"),
        ("2026-11-24T00:30:00+02:00", "2026-11-24 00:30:00+02:00", "2026-11-23"),
        ("0001-01-01T00:00:00+23:59", "0001-01-01 00:00:00+23:59", "0001-01-01"),
    ],
)
def test_time_stamps(sent: str, ts: str, day: str) -> None:
    """Every form that the edge accepts is one that the database reads, and its day is that in UTC."""
    (record,) = delivered(body(event() | {"timestamp": sent}))
    assert columns(record)["ts"] == ts
    assert to_row(record).day == day


def test_what_copy_reads_otherwise_is_escaped() -> None:
    """Tabs, line ends and backslashes in a column do not end it."""
    given = column_of(user_id="a\tb\nc\rd\\e")
    assert given["user_id"] == "a\\tb\\nc\\rd\\\\e"


def test_zero_characters_become_replacement_characters() -> None:
    """U+0000 cannot be stored: it is replaced, with a note; an escaped backslash before `u0000` is no such thing."""
    (record,) = delivered(body_of('"a":"x\\u0000y","b":"\\\\u0000"'))
    given = columns(record)
    stored = json.loads(given["event"].replace("\\\\", "\\"))
    assert stored["a"] == "x\ufffdy"
    assert stored["b"] == "\\u0000"
    assert json.loads(given["meta"])["notes"] == ["zero_replaced"]


@pytest.mark.parametrize(
    ("value", "headers", "reason"),
    [
        (b"", SCHEMA, "record_malformed"),
        (b"[]", SCHEMA, "record_malformed"),
        (b'{"meta":{},"event":{}}', SCHEMA, "record_malformed"),
        (b"\xff", SCHEMA, "record_malformed"),
        (b"{}", (), "schema_unknown"),
        (b"{}", (("schema", b"event/2"),), "schema_unknown"),
    ],
)
def test_what_can_be_no_row(value: bytes, headers: tuple[tuple[str, bytes], ...], reason: str) -> None:
    """A record of another schema, or one that does not hold up, is told by a code."""
    with pytest.raises(Unusable) as caught:
        to_row(Delivered(Topic.EVENTS, 0, 0, 0, b"", value, headers))
    assert str(caught.value) == reason
