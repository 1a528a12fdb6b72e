import json
from typing import Any

import pytest

from ingest.errors import Code, Refusal
from ingest.outcome import Fault, RejectionCode
from ingest.pipeline.decode import decode
from tests.ingest.pipeline.batches import body, body_of, decoded, event


def refused(text: bytes, *, events_max: int = 100) -> Refusal:
    """Return the refusal of a whole body."""
    with pytest.raises(Refusal) as caught:
        decode(text, events_max=events_max)
    return caught.value


def test_a_batch_comes_apart_into_its_members() -> None:
    """Events, the sender, the batch's own members, and what is unknown, in the order in which it was sent."""
    batch = decoded(body(event(a=1), 2, app_id="app_demo", z=1, batch_id="b1", a=[2], sent_at="now", m=None))

    assert batch.events == [event(a=1), 2]
    assert (batch.app_id, batch.batch_id, batch.sent_at) == ("app_demo", "b1", "now")
    assert list(batch.extra.items()) == [("z", 1), ("a", [2]), ("m", None)]
    assert batch.repaired == frozenset()


@pytest.mark.parametrize(
    ("text", "app_id"),
    [
        (body(event(app_id="of_event"), app_id="of_root"), "of_root"),
        (body(event(app_id="of_event"), event(app_id="of_second")), "of_event"),
        (body(event(app_id="of_event"), app_id=None), "of_event"),
        (body(event(), event(app_id="of_second")), None),
        (body(event(), app_id=""), None),
        (body(event(), app_id=["app_demo"]), None),
        (body(event(), app_id=True), None),
        (body(1, event(app_id="of_second")), None),
        (body(event(app_id=1234)), "1234"),
        (body(event(), app_id=1234), "1234"),
    ],
)
def test_the_sender_stands_at_the_root_or_in_the_first_event(text: bytes, app_id: str | None) -> None:
    """The root's `app_id` counts, else the first event's; an integer is as good as a string, null counts as absent."""
    assert decoded(text).app_id == app_id


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b" ", b"{", b"events", b'{"events":[{]}', b'{"events":[{}]} x', b'{"events":[{}],}', b"'{}'"),
        *(
            b"\xff\xfe",
            b"\x00",
            b'{"events":[{}]',
            b'{"events":[{"a":NaN}]}',
            b'{"events":[{"a":01}]}',
            b"\x1f\x8b\x08",
        ),
    ],
)
def test_what_is_not_json_is_refused(text: bytes) -> None:
    """A body that is not JSON as a whole is INVALID_JSON."""
    assert refused(text).code is Code.INVALID_JSON


@pytest.mark.parametrize(
    "text",
    [
        *(b"[]", b"null", b"1", b'"events"', b"{}", b'[{"event":"a"}]'),
        *(b'{"events":%b}' % value for value in (b"[]", b"null", b"{}", b'"a"', b"1", b"true")),
        *(
            b'{"x":"\\ud800"}',
            b'{"x":"\\ud800","events":[]}',
            b'{"x":"\\ud800","events":{}}',
            b'["\\ud800"]',
            b'"\\ud800"',
        ),
    ],
)
def test_json_without_events_is_no_batch(text: bytes) -> None:
    """A body without a non-empty array `events` is INVALID_BATCH, on the slow path too."""
    assert refused(text).code is Code.INVALID_BATCH


@pytest.mark.parametrize("fault", ["", '"x":"\\ud800"', '"x":1e400'])
def test_the_number_of_events_is_bounded(fault: str) -> None:
    """The greatest number passes; one more is too large, and the answer names the limit."""
    assert len(decode(body_of(fault, "", ""), events_max=3).events) == 3
    refusal = refused(body_of(fault, "", "", ""), events_max=3)
    assert (refusal.code, refusal.details) == (Code.PAYLOAD_TOO_LARGE, {"limit": "events", "max": 3})


@pytest.mark.parametrize(
    ("sent", "value"),
    [
        ('"\\ud800"', "\ufffd"),
        ('"\\uDFFF"', "\ufffd"),
        ('"a\\ud83db"', "a\ufffdb"),
        ('"\\ude00\\ud83d"', "\ufffd\ufffd"),
        ('"\\ud83d\\ud83d\\ude00"', "\ufffd\U0001f600"),
        ('{"\\udc00k":["\\ud800"]}', {"\ufffdk": ["\ufffd"]}),
        ('"\\\\ud800\\ud800"', "\\ud800\ufffd"),
        ('"\\ud800\\n\\"\\u00e9é"', '\ufffd\n"éé'),
    ],
)
def test_lone_surrogates_are_replaced(sent: str, value: Any) -> None:
    """Each becomes U+FFFD, in values and in names; pairs and escaped backslashes stay; the event is marked."""
    batch = decoded(body_of('"n":1', f'"x":{sent}', '"n":2'))

    assert [each.get("n") for each in batch.events] == [1, None, 2]
    assert batch.events[1]["x"] == value
    assert batch.repaired == {1}


def test_what_only_looks_like_a_lone_surrogate_is_left_alone() -> None:
    """The client's own U+FFFD, pairs and escaped backslashes mark no event, with a neighbour that is repaired."""
    batch = decoded(body_of('"x":"\\ufffd\\uFFFD\\ud83d\\ude00\\\\ud800"', '"x":"\ufffd"', '"x":"\\ud800"'))

    assert batch.events[0]["x"] == "\ufffd\ufffd\U0001f600\\ud800"
    assert batch.repaired == {2}


@pytest.mark.parametrize("root", ['"r":"\\ud800"', '"r\\ud800":1', '"batch_id":"\\udfff"', '"r":{"k":["\\ud800"]}'])
def test_a_lone_surrogate_of_the_root_marks_every_event(root: str) -> None:
    """Every record carries the root's members, so all of them tell of the repair."""
    batch = decoded(body_of("", '"x":1', root=root))

    assert batch.repaired == {0, 1}
    assert "\ufffd" in json.dumps([batch.extra, batch.batch_id], ensure_ascii=False)


@pytest.mark.parametrize("digits", [1, 19, 20, 21, 100, 1000])
@pytest.mark.parametrize("sign", ["", "-"])
def test_integers_are_exact(digits: int, sign: str) -> None:
    """An integer of any size survives."""
    number = sign + "9" * digits
    assert decoded(body_of(f'"n":{number}')).events[0]["n"] == int(number)


@pytest.mark.parametrize(
    "number", ["0.1", "1e22", "1E+2", "-0.0", "5e-324", "1.7976931348623157e308", "0.30000000000000004"]
)
def test_other_numbers_are_the_same_double(number: str) -> None:
    """What is no integer is read as the nearest double."""
    found = decoded(body_of(f'"n":{number}')).events[0]["n"]
    assert (type(found), str(found)) == (float, str(float(number)))


@pytest.mark.parametrize("value", ["1e400", "-1e400", '[{"a":1e999}]', "9" * 5000])
def test_a_number_out_of_range_costs_its_event_only(value: str) -> None:
    """What cannot be represented rejects the event; its neighbours are decoded."""
    batch = decoded(body_of('"n":1', f'"x":{value}', '"n":2'))

    fault = batch.events[1]
    assert isinstance(fault, Fault)
    assert (fault.code, fault.path) == (RejectionCode.INVALID_VALUE, None)
    assert [batch.events[0]["n"], batch.events[2]["n"]] == [1, 2]


def test_a_number_out_of_range_at_the_root_costs_no_event() -> None:
    """Only that member cannot be decoded; the others and the events are there."""
    batch = decoded(body_of('"n":1', root='"x":1e400,"batch_id":"b","y":2'))

    assert batch.events[0]["n"] == 1
    assert (batch.batch_id, batch.extra["y"]) == ("b", 2)
    assert isinstance(batch.extra["x"], Fault)


def test_text_that_is_not_utf8_costs_its_event_only() -> None:
    """Bytes that are no UTF-8 reject the event in which they stand."""
    batch = decoded(body_of('"n":1', '"x":"?"', '"n":2').replace(b"?", b"\xff"))

    assert isinstance(batch.events[1], Fault)
    assert batch.events[1].code is RejectionCode.INVALID_VALUE
    assert [batch.events[0]["n"], batch.events[2]["n"]] == [1, 2]


@pytest.mark.parametrize("fault", ["", ',"s":"\\ud800"'])
def test_of_duplicate_names_the_last_one_counts(fault: str) -> None:
    """In events and at the root, however the name is spelled, on the slow path too."""
    text = body_of(f'"a":1,"a":2,"\\u0061":3{fault}', root='"batch_id":"1","batch_id":"2","r":1,"r":2')
    batch = decoded(b'{"events":[],' + text[1:])

    assert batch.events[0]["a"] == 3
    assert (batch.batch_id, batch.extra["r"]) == ("2", 2)


def test_escapes_of_ascii_are_undone() -> None:
    r"""`\u0040` and `"\u0065mail"` are the same as what they spell."""
    (found,) = decoded(body_of('"\\u0065mail":"ann\\u0040example.com"')).events
    assert found["email"] == "ann@example.com"


@pytest.mark.parametrize("value", [["b"], {"b": 1}, 1.5, True])
@pytest.mark.parametrize("name", ["batch_id", "sent_at"])
def test_members_of_the_root_with_another_type_stay_there(name: str, value: Any) -> None:
    """They are kept as they are, and not taken for what they are not."""
    batch = decoded(body(event(), **{name: value}))

    assert batch.extra == {name: value}
    assert getattr(batch, name) is None


def test_integers_are_fine_where_ids_are_expected_at_the_root() -> None:
    """A batch id that is an integer is the same as its text; null counts as absent."""
    assert decoded(body(event(), batch_id=17)).batch_id == "17"
    assert decoded(body(event(), batch_id=None)).extra == {}


def test_only_nesting_may_refuse_a_whole_batch() -> None:
    """A body nested beyond what the decoder takes is refused; one below it is decoded."""
    assert decoded(body_of('"x":' + "[" * 400 + "]" * 400)).events[0]["x"] != []
    assert refused(body_of('"x":' + "[" * 100_000 + "]" * 100_000)).code is Code.INVALID_JSON
