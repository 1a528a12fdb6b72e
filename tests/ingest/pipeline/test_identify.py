import json
from collections.abc import Sequence
from typing import Any

import pytest

from ingest.outcome import RejectionCode
from normalize import EMPTY, email_digest, phone_digests
from normalize.members import FAMILIES, Family
from tests.ingest.pipeline.batches import event, identified, identify_fault, nested

IDFA = "6D92078A-8246-4BA4-AE5B-76104861E7DC"
ZERO = "00000000-0000-0000-0000-000000000000"
ANN = email_digest("ann@example.com")
PHONE = phone_digests("+44 (0)20 7946 0018")
DIGEST = "AB" * 32
PLACES = ["top", "object", "list"]


def planted(members: dict[str, Any], place: str) -> dict[str, Any]:
    """Return an event that holds `members` at some depth."""
    if place == "top":
        return event(**members)
    return event(properties={"inner": members} if place == "object" else {"items": [1, [members]]})


def found_at(members: dict[str, Any], place: str, *own: str) -> dict[str, Any]:
    """Return what became of `members`, without what every event has."""
    out = identified(planted(members, place), *own).event
    if place == "top":
        return {name: value for name, value in out.items() if name not in {"event", "timestamp"}}
    inner: dict[str, Any] = out["properties"]["inner"] if place == "object" else out["properties"]["items"][1][0]
    return inner


@pytest.mark.parametrize("place", PLACES)
def test_an_event_without_identifiers_is_left_alone(place: str) -> None:
    """Members keep their values and their order, and there is no note."""
    members = {"z": 1, "a": "x", "price": 1.5, "ok": True, "none": None, "list": [1, "a", {}], "é": "日本 2026-11-24"}
    out = identified(planted(members, place))

    assert list(found_at(members, place).items()) == list(members.items())
    assert out.notes == ()
    assert json.loads(out.json) == out.event


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "name", ["email", "Email", "$email", "e-mail", "E_MAIL", "user_email", "customer email", "mail"]
)
def test_emails_become_digests(name: str, place: str) -> None:
    """However the member's name is spelled; the digest stands at the end of the object."""
    assert list(found_at({name: " Ann@Example.com ", "a": 1}, place).items()) == [("a", 1), ("email_sha256", ANN)]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["phone", "Phone", "phone_number", "MSISDN", "tel"])
def test_phones_become_digests(name: str, place: str) -> None:
    """An international number has its second form beside it."""
    assert PHONE is not None
    assert found_at({name: "+44 (0)20 7946 0018"}, place) == {
        "phone_sha256": PHONE.digits,
        "phone_e164_sha256": PHONE.e164,
    }


def test_a_chinese_number_has_a_third_form() -> None:
    """For calling code 86 the national digits alone are hashed too; a national number has one form."""
    digests = phone_digests("+86 138 0000 0000")
    assert digests is not None
    assert found_at({"phone": "+86 138 0000 0000"}, "top") == {
        "phone_sha256": digests.digits,
        "phone_e164_sha256": digests.e164,
        "phone_national_sha256": digests.national,
    }
    assert found_at({"phone": 13800000000}, "top").keys() == {"phone_sha256"}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["email", "phone", "email_hash", "phone_sha256", "user_email"])
@pytest.mark.parametrize("value", [DIGEST, DIGEST.lower(), f" {DIGEST}\n", f"{DIGEST}.AQYCAQIA"])
def test_a_digest_is_never_hashed_again(name: str, value: str, place: str) -> None:
    """A SHA-256 under any name of the family is kept, in lower case."""
    kind = "phone" if "phone" in name else "email"
    assert found_at({name: value}, place) == {f"{kind}_sha256": DIGEST.lower()}


UNUSABLE_EMAILS: list[Any] = ["", " \u00a0", EMPTY, 1.5, 17, {}, {"a": "b"}, [1, "a"]]
UNUSABLE_PHONES: list[Any] = ["", "ext.", "①②", EMPTY, 1.5, {}, ["1", 2], []]
ADDRESSES: list[Any] = [17, 1.5, ["203.0.113.9"], {"v4": "203.0.113.9"}, ""]


@pytest.mark.parametrize(
    ("members", "note"),
    [
        *(({"email": value}, "email_unusable") for value in UNUSABLE_EMAILS),
        *(({"phone": value}, "phone_unusable") for value in UNUSABLE_PHONES),
        *(({name: "203.0.113.9"}, "address_removed") for name in ("ip", "client_ip", "X-Forwarded-For", "remoteAddr")),
        *(({name: IDFA}, "advertising_id_removed") for name in ("idfa", "IDFV", "gaid", "gps_adid", "advertising_id")),
        *(({name: "490154203237518"}, "hardware_id_removed") for name in ("imei", "MAC_address", "android_id", "udid")),
        *(({"ip": value}, "address_removed") for value in ADDRESSES),
    ],
)
@pytest.mark.parametrize("place", PLACES)
def test_what_cannot_be_kept_is_gone_and_noted(members: dict[str, Any], note: str, place: str) -> None:
    """Nothing is left of the member, and a note says why."""
    assert found_at(dict(members), place) == {}
    assert note in identified(planted(dict(members), place)).notes


@pytest.mark.parametrize("family", Family)
def test_every_name_of_the_closed_lists_is_known(family: Family) -> None:
    """Of each listed name nothing but a digest stays; null and booleans identify nobody and stay."""
    for name in FAMILIES[family]:
        left = found_at({name: "+1 415 555 0132"}, "object")
        assert set(left) <= {"email_sha256", "phone_sha256", "phone_e164_sha256"}
        assert found_at({name: None}, "top") == {name: None}
        assert found_at({name: False}, "object") == {name: False}


def test_arrays_are_hashed_element_by_element() -> None:
    """Of texts, or of integers."""
    assert found_at({"emails": ["ann@example.com", "ANN@example.com "]}, "list") == {"email_sha256": [ANN, ANN]}


def test_the_exact_name_comes_first_in_a_conflict() -> None:
    """One digest per family and object; a different later one leaves a note."""
    out = identified(event(mail="bob@example.com", email="ann@example.com"))
    assert (out.event["email_sha256"], out.notes) == (ANN, ("digest_conflict",))

    agreeing = identified(event(mail="ANN@example.com", email="ann@example.com"))
    assert (agreeing.event["email_sha256"], agreeing.notes) == (ANN, ())


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "text",
    [
        "to ann@example.com",
        "ann%40example.com",
        "x?user=ann%2540example.com",
        "call +1 (415) 555-0132",
        "?email=ann&x=1",
    ],
)
def test_free_text_is_scrubbed(text: str, place: str) -> None:
    """E-mail addresses, phone numbers and parameters are replaced in place, in keys as well as in values."""
    left = json.dumps(found_at({"note": text, text: 1, "list": [text]}, place))

    assert "sha256" in left
    for raw in ("ann@", "ann%", "=ann", "415"):
        assert raw not in left
    assert "text_scrubbed" in identified(planted({"note": text}, place)).notes


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "spelling", ["203.0.113.77", "203.000.113.077", "::ffff:203.0.113.77", "[::FFFF:cb00:714d]", "203%2E0.113.77"]
)
def test_own_addresses_are_cut_out_of_texts(spelling: str, place: str) -> None:
    """In any spelling; somebody else's stay."""
    left = found_at({"note": f"by {spelling}!", spelling: 1, "other": "198.51.100.7"}, place, "203.0.113.77")

    assert left == {"note": "by !", "": 1, "other": "198.51.100.7"}
    assert identified(planted({"note": spelling}, place), "203.0.113.77").notes == ("own_address_removed",)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "elsewhere",
    [IDFA, IDFA.lower(), IDFA.replace("-", ""), f"id:{IDFA}", f"x-{IDFA.lower()}-y", IDFA.replace("-", "").lower()],
)
@pytest.mark.parametrize("sent", [IDFA, f" {IDFA}\n", IDFA.replace("-", "")])
def test_advertising_ids_are_taken_out_everywhere(sent: str, elsewhere: str, place: str) -> None:
    """The same value does not stay elsewhere, whatever its case, dashes and white space."""
    members = planted({"idfa": sent, "copy": elsewhere}, place) | {"deep": [{"copy": elsewhere}]}
    left = identified(members).json.decode().lower().replace("-", "")

    assert IDFA.replace("-", "").lower() not in left


@pytest.mark.parametrize("value", ['quo"ted-id', "back\\slash", "new\nline-id", "ünïcode-id", "ab", "a b c d e f"])
def test_odd_advertising_ids_are_taken_out_everywhere(value: str) -> None:
    """Ids that JSON escapes, that are short or that are no ASCII are found again, too."""
    assert identified(event(gaid=value, copy=value)).event["copy"] == ""


@pytest.mark.parametrize(
    "members",
    [
        {"ip": {"idfa": IDFA}, "copy": IDFA},
        {"imei": [{"gaid": IDFA}], "copy": IDFA},
        {"email": {"gaid": IDFA}, "copy": IDFA},
        {"ip": f"?idfa={IDFA}", "copy": IDFA},
        {"email": f"x?gaid={IDFA}", "copy": IDFA},
        {"idfa": [IDFA], "copy": IDFA},
        {"idfa": {"value": IDFA}, "copy": IDFA},
        {"url": f"https://example.com/?gaid={IDFA}", "copy": IDFA},
        {"copy": IDFA, "url": f"https://example.com/?x=1&idfa={IDFA.lower()}"},
        {"url": f"https://example.com/%3Fidfa%3D{IDFA}", "copy": IDFA},
        {"properties": {"urls": [f"?gaid={IDFA}"]}, "copy": IDFA},
        {"note": "to ann@example.com", "copy": IDFA, "deep": [[{"url": f"?gaid={IDFA}"}]]},
        {f"?gaid={IDFA}": 1, "idfa": IDFA, "copy": IDFA},
    ],
)
def test_advertising_ids_inside_of_other_members_are_found(members: dict[str, Any]) -> None:
    """An id that goes with a member of another family, or out of a URL, does not stay elsewhere."""
    assert identified(event(**members)).event["copy"] == ""


def test_the_zero_id_is_dropped_everywhere() -> None:
    """It identifies nobody, and is noted."""
    out = identified(event(idfa=ZERO, copy=f"id {ZERO}", other=ZERO.replace("-", "")))

    assert (out.event["copy"], out.event["other"]) == ("id ", "")
    assert out.notes == ("advertising_id_removed", "zero_id_removed")


@pytest.mark.parametrize("name", ["user_id", "app_user_id", "revenuecat_original_app_user_id"])
@pytest.mark.parametrize("value", ["ann@example.com", "+14155550132", "203.0.113.77", IDFA, ZERO, 17, 1.5, None, True])
def test_the_apps_own_ids_are_kept_whatever_they_hold(name: str, value: Any) -> None:
    """Strings and numbers in these three; in any other spelling, and for anything else, the rules hold."""
    assert identified(event(idfa=IDFA, properties={name: value}), "203.0.113.77").event["properties"] == {name: value}
    assert identified(event(**{name: ["ann@example.com"]})).event[name] == [f"sha256:{ANN}"]
    assert identified(event(**{name: {"email": "ann@example.com"}})).event[name] == {"email_sha256": ANN}
    assert identified(event(**{name.upper(): "ann@example.com"})).event[name.upper()] == f"sha256:{ANN}"


IDS = ("install_id", "session_id", "user_id", "app_user_id")


def each_of(names: Sequence[str], values: list[Any]) -> list[tuple[str, Any]]:
    """Return every name with every value."""
    return [(name, value) for name in names for value in values]


UNEXPECTED = [
    *each_of(["platform"], [1, 1.5, True, [], {}]),
    *each_of(["os_version"], [17, 17.1]),
    *each_of(IDS, [1.5, True, [], {}]),
    *each_of(["properties"], ["x", 1, [], True]),
]


@pytest.mark.parametrize(("name", "value"), UNEXPECTED)
def test_a_known_member_with_another_type_is_kept_with_a_note(name: str, value: Any) -> None:
    """It costs the event nothing."""
    out = identified(event(**{name: value}))

    assert out.event[name] == value
    assert out.notes == ("unexpected_type",)


@pytest.mark.parametrize(
    "other",
    [
        {"a[email]": "ann"},
        {"mail": "ann@example.com"},
        {"ip": ["x"]},
        {"text": "a@b"},
        {"properties": {"email": ["ann@example.com"]}},
    ],
)
def test_an_unexpected_type_is_noted_beside_anything(other: dict[str, Any]) -> None:
    """Also before and behind members that need a closer look."""
    for members in ({"platform": 17, **other}, {**other, "platform": 17}):
        assert "unexpected_type" in identified(event(**members)).notes


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *each_of(IDS, [17, 0, "x", None]),
        *each_of(["properties"], [{}, None]),
        *each_of(["platform"], ["ios", None, ""]),
        ("something_else", [1, {}]),
    ],
)
def test_expected_types_leave_no_note(name: str, value: Any) -> None:
    """Null counts as absent, integers are fine where ids are expected, and other members may be anything."""
    assert identified(event(**{name: value})).notes == ()


def test_notes_are_told_once_and_in_order() -> None:
    """However often something happened."""
    out = identified(event(properties=1, imei="1", deep=[{"ip": "a"}, {"ip": "b", "email": ""}], platform=2))
    assert out.notes == ("address_removed", "email_unusable", "hardware_id_removed", "unexpected_type")


@pytest.mark.parametrize("members", [{"text": "é"}, {"text": "a@b"}, {"email": "ann@example.com"}, {"mail": "a@b"}])
def test_the_size_of_an_event_is_bounded(members: dict[str, Any]) -> None:
    """Measured in bytes of what would be stored: as much as allowed passes, one byte more is TOO_LARGE."""
    size = len(identified(event(**members)).json)
    pad = "x" * 1000

    assert len(identified(event(**members, pad=pad), bytes_max=size + 1009).json) == size + 1009
    fault = identify_fault(event(**members, pad=pad), bytes_max=size + 1008)
    assert (fault.code, fault.path) == (RejectionCode.TOO_LARGE, None)
    assert "x" * 10 not in fault.message


@pytest.mark.parametrize("members", [{}, {"mail": "a@b"}, {"email": "a@b"}, {"a[email]": "a@b"}, {"text": "a@b"}])
def test_the_nesting_of_an_event_is_bounded(members: dict[str, Any]) -> None:
    """The event is level 1: as many levels as allowed pass, one more is INVALID_VALUE, whatever else is in it."""
    assert identified(event(**members, deep=nested(7)), nesting_max=8).event["deep"] == nested(7)
    for deep in (nested(8), {"a": nested(7)}, [{"a": nested(6)}]):
        fault = identify_fault(event(**members, deep=deep), nesting_max=8)
        assert fault.code is RejectionCode.INVALID_VALUE


def test_one_event_leaves_nothing_to_the_next() -> None:
    """A short event after a long one is not mixed with it, nor are their notes and ids."""
    identified(event(idfa=IDFA, ip="203.0.113.7", pad="x" * 20_000))
    out = identified(event(copy=IDFA))

    assert json.loads(out.json) == event(copy=IDFA)
    assert out.notes == ()


def test_made_up_names_do_not_add_up() -> None:
    """Thousands of names that clients make up are learned within a bound, and forgetting does no harm."""
    from ingest.pipeline import identify

    for first in range(0, 12_000, 400):
        identified(event(**{f"made_up_{first + number}": 1 for number in range(400)}))
        assert identified(event(email="ann@example.com", ip="x")).event == event(email_sha256=ANN)

    learned = [value for value in vars(identify).values() if isinstance(value, set | dict) and "made_up_11999" in value]
    assert learned
    assert all(len(names) <= 8_192 for names in learned)
