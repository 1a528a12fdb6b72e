import json
from typing import Any

import pytest

from ingest.event import EventRecord
from ingest.outcome import RejectionCode
from ingest.pipeline.encode import ROOT_BYTES_MAX
from ingest.pipeline.request import Limits
from normalize import email_digest
from tests.ingest.pipeline.batches import (
    LIMITS,
    TIME,
    body,
    body_of,
    event,
    nested,
    records,
    request,
    stored,
    through,
)

IDFA = "6D92078A-8246-4BA4-AE5B-76104861E7DC"

BAD: list[tuple[str, Any, str]] = [
    ("not an object", 17, "NOT_AN_OBJECT"),
    ("no name", {"timestamp": TIME}, "MISSING_FIELD"),
    ("name of another type", event(event=["secret-17"]), "INVALID_TYPE"),
    ("bad time", event(timestamp="secret-17"), "INVALID_TIMESTAMP"),
    ("long name", event(event="secret-17" * 50), "INVALID_VALUE"),
    ("foreign app", event(app_id="secret-17"), "APP_MISMATCH"),
    ("too large", event(**{"secret-17": "secret-17" * 8_000}), "TOO_LARGE"),
    ("too deep", event(**{"secret-17": nested(80)}), "INVALID_VALUE"),
]


@pytest.mark.parametrize(("sent", "code"), [bad[1:] for bad in BAD], ids=[bad[0] for bad in BAD])
def test_one_bad_event_does_not_cost_its_neighbours(sent: Any, code: str) -> None:
    """It is told by its position and code, without a value or an unknown name of it."""
    done = through(body(event(event_id="a"), sent, event(event_id="b")))

    assert [each.meta.event_id for each in records(done)] == ["a", "b"]
    (rejection,) = done.rejected
    assert (rejection.index, rejection.code) == (1, RejectionCode(code))
    assert "secret-17" not in f"{rejection}"


def test_every_rejection_code_can_be_had_at_once() -> None:
    """All kinds in one batch, each at its position, and nothing is accepted."""
    done = through(body(*(sent for _, sent, _ in BAD)))

    assert [(each.index, each.code.value) for each in done.rejected] == [
        (n, code) for n, (_, _, code) in enumerate(BAD)
    ]
    assert {code for _, _, code in BAD} == set(RejectionCode)
    assert (done.records, done.duplicates, done.notes) == ([], 0, [])


@pytest.mark.parametrize("fault", ['"x":1e400', '"x":-1e999', f'"x":{"9" * 5000}'])
def test_a_number_that_cannot_be_represented_rejects_its_event_only(fault: str) -> None:
    """The neighbours are stored, with their numbers as they are."""
    done = through(body_of('"n":0.1', fault, f'"n":{"9" * 1000}'))

    assert [each.event["n"] for each in records_of_big_numbers(done.records)] == [0.1, int("9" * 1000)]
    assert [(each.index, each.code) for each in done.rejected] == [(1, RejectionCode.INVALID_VALUE)]


def records_of_big_numbers(found: list[Any]) -> list[EventRecord]:
    """Read records with a decoder whose integers have no bound."""
    return [EventRecord(meta=None, event=json.loads(each.value)["event"]) for each in found]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "number", ["0", "-1", "9007199254740993", "18446744073709551616", "-9223372036854775809", "9" * 1000]
)
def test_integers_are_stored_exactly(number: str) -> None:
    """Digit by digit, in the bytes of the record."""
    (record,) = through(body_of(f'"n":{number}')).records
    assert record.value.endswith(f',"n":{number}}}}}'.encode())


@pytest.mark.parametrize(
    "number", ["0.1", "1e22", "1.5E-7", "-0.0", "5e-324", "1.7976931348623157e308", "1E2", "100.0"]
)
def test_doubles_are_stored_as_the_same_double(number: str) -> None:
    """The spelling may change, the value does not, and a double stays one."""
    found = stored(body_of(f'"n":{number}')).event["n"]
    assert (type(found), str(found)) == (float, str(float(number)))


def test_unknown_members_survive_in_order() -> None:
    """In the event and at the root, with whatever they hold."""
    members = {"zz": [1, {"b": None, "a": "é"}], "aa": {}, "😀": False, "Event": 2, "": "", "b": 1.5}
    found = stored(body(event(**members), zz=1, aa=[{"x": None}], _="é"))

    assert list(found.event.items()) == list(event(**members).items())
    assert list((found.meta.batch or {}).items()) == [("zz", 1), ("aa", [{"x": None}]), ("_", "é")]


def test_the_timestamp_is_kept_as_sent() -> None:
    """Whatever form it has."""
    for text in ("2026-11-24 10:00", "2026-11-24t10:00:60.123456789+05:30"):
        assert stored(body(event(timestamp=text))).event["timestamp"] == text


def test_the_same_id_and_time_count_once() -> None:
    """Of events with one id and timestamp the first is stored; with another timestamp it is another event."""
    done = through(
        body(
            event(event_id="a", n=1),
            event(event_id="a", n=2),
            event(event_id="a", timestamp="2026-11-24T10:00:01Z"),
            event(event_id="b"),
            event(event_id="a", n=3),
            17,
        )
    )

    assert [(each.meta.event_id, each.event["timestamp"]) for each in records(done)] == [
        ("a", TIME),
        ("a", "2026-11-24T10:00:01Z"),
        ("b", TIME),
    ]
    assert (records(done)[0].event["n"], done.duplicates, len(done.rejected)) == (1, 2, 1)


def test_derived_ids_make_duplicates_too() -> None:
    """Equal events without ids count once, whatever the order of their members; so do an integer and its text."""
    text = f'{{"timestamp":"{TIME}","a":1,"event":"view"}}'
    done = through(body_of('"a":1', "").replace(b"]", b"," + text.encode() + b"]"))
    assert (len(done.records), done.duplicates) == (2, 1)

    done = through(body(event(event_id=17), event(event_id="17")))
    assert (len(done.records), done.duplicates) == (1, 1)


def test_a_resend_has_the_same_identity_and_key() -> None:
    """From another address, with other headers, in another batch: id, timestamp and key are unchanged."""
    sent = event(email="ann@example.com", properties={"phone": "+14155550132", "ip": "203.0.113.7"})
    first = through(body(sent, batch_id="1"), request("203.0.113.7", environment="a"))
    again = through(body(event(n=1), {**sent}, batch_id="2"), request("2001:db8::17", sdk="ios/1"))

    assert records(again)[1].meta.event_id == records(first)[0].meta.event_id
    assert again.records[1].key == first.records[0].key


def test_a_lone_surrogate_is_noted_on_its_event_only() -> None:
    """It is stored as U+FFFD; its neighbours are stored unchanged and without a note."""
    done = through(body_of('"n":1', '"x\\udfff":"\\ud800","ip":"x"', '"n":"\ufffd"'))
    first, second, third = records(done)

    assert second.event == event(**{"x\ufffd": "\ufffd"})
    assert set(second.meta.notes) == {"address_removed", "surrogate_replaced"}
    assert (first.meta.notes, third.meta.notes) == ((), ())


@pytest.mark.parametrize("root", ['"r":"\\ud800"', '"r\\udfff":1', '"batch_id":"\\ud800"'])
def test_a_lone_surrogate_of_the_root_is_noted_on_all_events(root: str) -> None:
    """All of them carry the root's members."""
    found = records(through(body_of("", '"n":1', root=root)))

    assert [each.meta.notes for each in found] == [("surrogate_replaced",)] * 2
    assert all("\ufffd" in f"{each.meta}" for each in found)


def test_a_hidden_identifier_next_to_a_lone_surrogate_is_found() -> None:
    """The slow path is under the same rules."""
    found = stored(body_of('"x":"\\ud800 ann\\u0040example.com","\\u0065mail":"ann@example.com","ip":"\\udfff"'))

    assert found.event["email_sha256"] == email_digest("ann@example.com")
    assert "ann" not in f"{found}"
    assert "ip" not in found.event


def test_members_of_the_root_are_identified() -> None:
    """At any depth, the batch's own id included; what was removed is noted on every record."""
    text = body(
        event(),
        event(n=1),
        batch_id="ann@example.com",
        user={"email": "ann@example.com", "note": "203.0.113.77"},
        client_ip="198.51.100.7",
        more=["ann%40example.com"],
    )
    found = records(through(text, request("203.0.113.77")))

    digest = email_digest("ann@example.com")
    for each in found:
        assert each.meta.batch_id == f"sha256:{digest}"
        assert each.meta.batch == {"user": {"note": "", "email_sha256": digest}, "more": [f"sha256:{digest}"]}
        assert each.meta.notes == ("address_removed", "own_address_removed", "text_scrubbed")


def test_a_note_is_told_once() -> None:
    """Although it holds for the root and for the event."""
    assert stored(body(event(ip="x"), ip="y")).meta.notes == ("address_removed",)


@pytest.mark.parametrize("name", ["batch_id", "sent_at"])
@pytest.mark.parametrize("value", [["x"], {"a": 1}, 1.5, True])
def test_an_unexpected_type_at_the_root_is_kept_with_a_note(name: str, value: Any) -> None:
    """The record still holds to its schema."""
    found = stored(body(event(), **{name: value}))

    assert (found.meta.batch, found.meta.notes) == ({name: value}, ("unexpected_type",))
    assert (found.meta.batch_id, found.meta.sent_at) == (None, None)


@pytest.mark.parametrize("value", ["batch_id", "sent_at", "event_id", "properties"])
def test_an_advertising_id_that_is_a_members_name_does_no_harm(value: str) -> None:
    """Whatever a client calls its ids, the batch is stored."""
    found = stored(body(event(event_id="e1", idfa="timezone"), idfa=value, batch_id="b1", sent_at=TIME))

    assert found.meta.batch_id in {"b1", None}
    assert (found.meta.event_id, found.event["event"]) == ("e1", "view")


def test_a_number_out_of_range_at_the_root_costs_no_event() -> None:
    """That member is left out and noted; the rest of the root is there."""
    found = records(through(body_of("", '"n":1', root='"x":1e400,"y":2')))

    assert [each.meta.batch for each in found] == [{"y": 2}] * 2
    assert [each.meta.notes for each in found] == [("member_lost",)] * 2


def test_the_root_is_bounded() -> None:
    """Every record carries its members, so one too large, deep or dense is left out, and no event pays for it."""
    assert stored(body(event(), x="x" * (ROOT_BYTES_MAX - 100))).meta.batch is not None
    assert stored(body(event(), x=nested(40))).meta.batch is not None
    for value in ("x" * ROOT_BYTES_MAX, nested(LIMITS.nesting_max + 1), "a@b.c " * 2_000):
        meta = stored(body(event(), x=value, batch_id="b-1", sent_at="s" * ROOT_BYTES_MAX)).meta
        assert meta.batch is None
        assert (meta.batch_id, meta.sent_at) == ("b-1", "s" * 200)
        assert "member_lost" in meta.notes


def test_limits_are_those_of_the_settings() -> None:
    """Size and depth of an event are what the limits say."""
    small = Limits(events_max=10, event_bytes_max=200, nesting_max=4)
    done = through(body(event(a=nested(3)), event(a=nested(4)), event(a="x" * 200)), limits=small)

    assert [(each.index, each.code.value) for each in done.rejected] == [(1, "INVALID_VALUE"), (2, "TOO_LARGE")]
    assert len(done.records) == 1


FAULTY = {"event": ""}


@pytest.mark.parametrize(
    ("members", "echoed"),
    [
        ({"event_id": "e-1"}, "e-1"),
        ({"event_id": "00000000-0000-0000-0000-000000000000"}, None),
        ({"event_id": "e" * 200}, "e" * 200),
        ({"event_id": "e" * 201}, None),
        ({"event_id": ""}, None),
        ({"event_id": 17}, "17"),
        ({}, None),
        ({"event_id": "ann@example.com"}, None),
        ({"event_id": "ann%40example.com"}, None),
        ({"event_id": "+14155550132"}, None),
        ({"event_id": "by-203.0.113.77"}, None),
        ({"event_id": "?email=ann"}, None),
        ({"event_id": IDFA.lower(), "idfa": IDFA}, None),
        ({"event_id": IDFA, "properties": {"list": [{"gaid": IDFA.replace("-", "")}]}}, None),
        ({"event_id": f"x{IDFA}", "url": f"https://example.com/?idfa={IDFA}"}, None),
        ({"event_id": IDFA}, IDFA),
    ],
)
def test_an_id_is_echoed_only_if_the_rules_leave_it_unchanged(members: dict[str, Any], echoed: str | None) -> None:
    """`eventId` of a rejected event identifies nobody."""
    done = through(body(event(**members) | FAULTY), request("203.0.113.77"))
    assert done.rejected[0].event_id == echoed


@pytest.mark.parametrize("excess", [{"pad": "x" * 40_000}, {"pad": nested(80)}])
@pytest.mark.parametrize("place", ["top", "nested"])
def test_an_id_is_not_echoed_although_the_event_was_begun(excess: dict[str, Any], place: str) -> None:
    """An event that turns out too large or too deep does not give its advertising id away as `eventId`."""
    members = {"idfa": IDFA} if place == "top" else {"properties": {"idfa": IDFA}}
    done = through(body(event(event_id=IDFA, **members, **excess), event(event_id="e-2", **excess)))

    assert [each.event_id for each in done.rejected] == [None, "e-2"]


def test_the_figures_add_up() -> None:
    """Received is accepted plus duplicates plus rejected, and notes are those of what was accepted."""
    done = through(
        body(event(event_id="a", ip="x"), event(event_id="a", ip="x"), 17, event(ip="y", event=""), event(imei="z"))
    )

    assert (len(done.records), done.duplicates, len(done.rejected)) == (2, 1, 2)
    assert done.notes == ["address_removed", "hardware_id_removed"]
    assert LIMITS.events_max > 5


def test_texts_made_to_be_costly_are_refused_and_their_neighbours_are_not() -> None:
    """Thousands of addresses in the texts of a batch are not looked through; what can be told cheaply is taken."""
    dense = [event(event_id=f"dense-{number}", text="phone=+1&" * 3000) for number in range(40)]
    done = through(body(*dense, event(event_id="plain")))

    assert [each.code for each in done.rejected] == ["INVALID_VALUE"] * 40
    assert [each.index for each in done.rejected] == list(range(40))
    assert len(done.records) == 1


def test_every_event_has_a_share_of_what_texts_may_cost() -> None:
    """However much one event asks for, its neighbours keep what any of them may need."""
    greedy = event(event_id="greedy", text="=" * 30_500)
    usual = [event(event_id=f"usual-{number}", url=f"https://example.com/?{'a=1&' * 60}") for number in range(90)]
    done = through(body(greedy, *usual, event(event_id="guests", guests=[f"g{n}@example.com" for n in range(300)])))

    assert [each.index for each in done.rejected] == [0]
    assert len(done.records) == 91
    assert not any(b"@example" in record.value for record in done.records)


def test_parameters_behind_many_others_are_not_overlooked() -> None:
    """A secret cannot hide behind a crowd of digests that need no change."""
    crowd = "&".join([f"email_sha256={'ab' * 32}"] * 390)
    done = through(body(event(text=f"https://example.com/?{crowd}&email=ann@example.com"), event(event_id="plain")))

    assert [each.code for each in done.rejected] == ["INVALID_VALUE"]
    assert not any(b"ann@" in record.value for record in done.records)


def test_an_id_that_was_taken_out_is_not_echoed() -> None:
    """An event that turns out too large only once it is hashed had its advertising id removed already."""
    done = through(body(event(event_id=IDFA, gaid=IDFA, a=["a@b"] * 250, pad="x" * 30_968)))

    assert [(each.code, each.event_id) for each in done.rejected] == [("TOO_LARGE", None)]


def test_an_advertising_id_does_not_cross_between_root_and_events() -> None:
    """It is looked for in the events if the root has it, and in the root if an event has it; verdicts too."""
    at_root = through(body(event(install_id=IDFA), event(event_id=IDFA, app_id="app_other"), context={"idfa": IDFA}))
    in_event = through(body(event(idfa=IDFA), device=IDFA.lower()))
    bare = IDFA.replace("-", "").encode()

    for record in (*at_root.records, *in_event.records):
        for text in (record.key, record.value):
            assert bare not in text.replace(b"-", b"").upper()
    assert [each.event_id for each in at_root.rejected] == [None]


def test_a_timestamp_is_kept_as_sent() -> None:
    """Zeros of a fraction are no advertising id, whatever else in the event needs a closer look."""
    stamp = f"2026-11-24T10:00:00.{'0' * 32}"

    assert stored(body(event(timestamp=stamp, idfa="00000000-0000-0000-0000-000000000000"))).event["timestamp"] == stamp


def test_members_that_were_judged_are_not_replaced_afterwards() -> None:
    """Names from which an address is cut do not overwrite those by which the event was accepted."""
    names = ("timestamp203.0.113.77", "event203.0.113.77", "app_id203.0.113.77")
    found = stored(body(event(app_id="app_demo", **dict.fromkeys(names, "other"))), request("203.0.113.77"))
    batch = stored(body(event(), batch_id="x", **{"batch_id203.0.113.77": {"a": 1}}), request("203.0.113.77"))

    assert (found.event["event"], found.event["timestamp"], found.event["app_id"]) == ("view", TIME, "app_demo")
    assert batch.meta.batch_id == "x"


def test_events_that_cost_more_than_they_may_are_refused_and_not_looked_through() -> None:
    """A crowd of ids, and an event without a name whose id would have to be judged: neither is worth seconds."""
    words = [f"device-{number:05}" for number in range(900)]
    done = through(body(event(idfa=words, t=words), {"event_id": "x", "a": "%2561=b&" * 60_000}, event()))

    assert [(each.index, each.code, each.event_id) for each in done.rejected] == [
        (0, "INVALID_VALUE", None),
        (1, "MISSING_FIELD", None),
    ]
    assert len(done.records) == 1
