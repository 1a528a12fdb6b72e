from hashlib import sha256
from ipaddress import ip_address
from typing import Any

import pytest

from normalize import EMPTY, NONE, Note, OwnAddresses, advertising_ids, identify

OWN = OwnAddresses([ip_address("203.0.113.7")])
IDFA = "6D92078A-8246-4BA4-AE5B-76104861E7DC"
ZERO = "00000000-0000-0000-0000-000000000000"


def digest(text: str) -> str:
    """Hash as a consumer would."""
    return sha256(text.encode()).hexdigest()


ANN, BOB = digest("ann@x.io"), digest("bob@x.io")
TEL, E164 = digest("14155552671"), digest("+14155552671")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"email": " Ann@X.io"}, {"email_sha256": ANN}),
        ({"User-Email": "ann@x.io"}, {"email_sha256": ANN}),
        ({"email": ANN.upper()}, {"email_sha256": ANN}),
        ({"email_hash": f"{ANN}.AQYCAQIA"}, {"email_sha256": ANN}),
        ({"email_hash": "ann@x.io"}, {"email_sha256": ANN}),
        ({"EmailSHA256": f" {ANN} "}, {"email_sha256": ANN}),
        ({"emails": ["ann@x.io", "bob@x.io"]}, {"email_sha256": [ANN, BOB]}),
        ({"phone": 14155552671}, {"phone_sha256": TEL}),
        ({"phone": "+1 415 555 2671"}, {"phone_sha256": TEL, "phone_e164_sha256": E164}),
        ({"phones": ["+14155552671", "911"]}, {"phone_sha256": [TEL, digest("911")], "phone_e164_sha256": [E164]}),
        ({"phones": [911]}, {"phone_sha256": [digest("911")]}),
        ({"phone_hash": TEL}, {"phone_sha256": TEL}),
        (
            {"tel": "+86 138"},
            {
                "phone_sha256": digest("86138"),
                "phone_e164_sha256": digest("+86138"),
                "phone_national_sha256": digest("138"),
            },
        ),
        ({"email": None, "mobile": True, "ip": None, "forwarded": False}, None),
        ({"user[email]": "ann@x.io"}, {"user[email_sha256]": ANN}),
        ({"user.phone": "+14155552671"}, {"user.phone_sha256": TEL, "user.phone_e164_sha256": E164}),
        ({"email": "ann@x.io", "user_email": "ANN@x.io"}, {"email_sha256": ANN}),
        ({"a": {"b": [{"email": "ann@x.io"}]}}, {"a": {"b": [{"email_sha256": ANN}]}}),
        ({"phone_number": TEL, "mobile": "+14155552671"}, {"phone_sha256": TEL, "phone_e164_sha256": E164}),
        ({"note": "ask ann@x.io"}, {"note": f"ask sha256:{ANN}"}),
        ({"ann@x.io": 1}, {f"sha256:{ANN}": 1}),
        ({"user_id": "ann@x.io", "app_user_id": 14155552671, "n": [2**70, 1e300, -0.5]}, None),
        ({"deep": {"user_id": f"{ZERO} 203.0.113.7 +14155552671"}}, None),
        ({"User_Id": "ann@x.io"}, {"User_Id": f"sha256:{ANN}"}),
        ({"user_id": ["ann@x.io"]}, {"user_id": [f"sha256:{ANN}"]}),
    ],
)
def test_hashing_and_keeping(value: dict[str, Any], expected: dict[str, Any] | None) -> None:
    """Members become digests, and what identifies nobody is kept; None expects no change."""
    found = identify(value, OWN)
    assert found.value == (value if expected is None else expected)
    assert set(found.notes) <= {Note.TEXT_SCRUBBED}


@pytest.mark.parametrize(
    ("value", "expected", "notes"),
    [
        ({"email": ""}, {}, (Note.EMAIL_UNUSABLE,)),
        ({"email": 5}, {}, (Note.EMAIL_UNUSABLE,)),
        ({"email": {"a": "ann@x.io"}}, {}, (Note.EMAIL_UNUSABLE,)),
        ({"email": EMPTY}, {}, (Note.EMAIL_UNUSABLE,)),
        ({"emails": []}, {}, (Note.EMAIL_UNUSABLE,)),
        ({"emails": ["ann@x.io", None]}, {}, (Note.EMAIL_UNUSABLE,)),
        ({"emails": ["ann@x.io", " "]}, {"email_sha256": [ANN]}, (Note.EMAIL_UNUSABLE,)),
        ({"phone": "none"}, {}, (Note.PHONE_UNUSABLE,)),
        ({"phone": 1.5}, {}, (Note.PHONE_UNUSABLE,)),
        ({"phones": ["1", 1]}, {}, (Note.PHONE_UNUSABLE,)),
        ({"phones": [True]}, {}, (Note.PHONE_UNUSABLE,)),
        ({"phone_e164_sha256": "14155552671"}, {}, (Note.PHONE_UNUSABLE,)),
        ({"user_email": "bob@x.io", "email": "ann@x.io"}, {"email_sha256": ANN}, (Note.DIGEST_CONFLICT,)),
        ({"mail": "ann@x.io", "user_email": "bob@x.io"}, {"email_sha256": ANN}, (Note.DIGEST_CONFLICT,)),
        ({"client_ip": "1.2.3.4", "a.ip": 5}, {}, (Note.ADDRESS_REMOVED,)),
        ({"text": "at 203.0.113.7", "203.0.113.7": 1}, {"text": "at ", "": 1}, (Note.OWN_ADDRESS_REMOVED,)),
        ({"imei": "1", "x": {"macAddress": ["a"]}}, {"x": {}}, (Note.HARDWARE_ID_REMOVED,)),
        ({"id": ZERO}, {"id": ""}, (Note.ZERO_ID_REMOVED,)),
        ({"idfa": ZERO, "x": 1}, {"x": 1}, (Note.ADVERTISING_ID_REMOVED, Note.ZERO_ID_REMOVED)),
        ({"ann@x.io": 1, f"sha256:{ANN}": 2}, {f"sha256:{ANN}": 2}, (Note.TEXT_SCRUBBED, Note.MEMBER_COLLISION)),
    ],
)
def test_removing(value: dict[str, Any], expected: dict[str, Any], notes: tuple[Note, ...]) -> None:
    """What cannot be hashed or must not stay is gone, and a note says so."""
    assert identify(value, OWN) == (expected, notes)


def test_an_advertising_id_is_cut_out_wherever_it_stands() -> None:
    """Before and after its member, at any depth, in texts, names, URLs and in another case; not in an exempt member."""
    value = {
        "before": f"x {IDFA.lower()} y",
        "list": [[IDFA]],
        f"key {IDFA}": 1,
        "device": {"idfa": IDFA, "idfv": {"value": "vendor-id-1"}},
        "url": "https://x.io/?gaid=38400000-8cf0-11bd&v=vendor-id-1",
        "other": "38400000-8CF0-11BD",
        "vendor-id-1": 2,
        "app_user_id": IDFA,
    }
    assert identify(value) == (
        {"before": "x  y", "list": [[""]], "key ": 1, "device": {}, "url": "https://x.io/?v=", "other": "", "": 2,
         "app_user_id": IDFA},
        (Note.ADVERTISING_ID_REMOVED,),
    )  # fmt: skip


def test_placeholders_are_not_looked_for() -> None:
    """A word that stands where an id should must not blank the status beside it."""
    found = identify({"idfa": "unknown", "gaid": "", "att_status": "unknown"}).value
    assert found == {"att_status": "unknown"}


def test_collecting_advertising_ids() -> None:
    """Every text in an advertising member counts; exempt members are not searched."""
    value = [{"adid": ["a", {"b": "c", "d": 5}]}, {"user_id": "gaid=x", "q": "gaid%3Dy"}, "ifa=z"]
    assert sorted(advertising_ids(value)) == ["a", "c", "y", "z"]


def test_order_is_kept_and_digests_come_last() -> None:
    """Unknown members keep their order; digests follow in a fixed one, also the second time."""
    value = {"z": 1, "phone": "+14155552671", "a": {}, "email": "ann@x.io", "m": 2}
    names = ["z", "a", "m", "email_sha256", "phone_sha256", "phone_e164_sha256"]
    once = identify(value).value
    assert list(once) == names
    assert list(identify(once).value) == names


def test_the_input_is_not_changed() -> None:
    """The caller's value stays as it was."""
    value = {"email": "ann@x.io", "a": [{"ip": "1.2.3.4"}]}
    identify(value)
    assert value == {"email": "ann@x.io", "a": [{"ip": "1.2.3.4"}]}


@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: {"a": value}, lambda value: {"email": [value]}])
def test_depth_does_not_matter(wrap: Any) -> None:
    """A value nested far beyond the interpreter's stack does not raise."""
    value: Any = "ann@x.io"
    for _ in range(5000):
        value = wrap(value)
    found = identify(value, NONE).value
    depth = 0
    while isinstance(found, list | dict) and found:
        found = found[0] if isinstance(found, list) else found["a"]
        depth += 1
    assert (depth, found) in [(5000, f"sha256:{ANN}"), (0, {})]


def test_a_name_that_becomes_one_of_a_family_is_treated_as_such() -> None:
    """A cut must not smuggle a raw member past its rule."""
    assert identify({"em[::ffff:203.0.113.7]ail": "ann@x.io"}, OWN).value == {"email_sha256": ANN}


def test_a_renamed_member_takes_nobodys_place() -> None:
    """A name from which an address was cut may become that of another member, which was sent and is kept."""
    found = identify({"app_id203.0.113.7": "other", "app_id": "mine"}, OWN)

    assert found.value == {"app_id": "mine"}
    assert Note.MEMBER_COLLISION in found.notes


def test_the_first_digest_under_a_name_with_parts_is_kept() -> None:
    """As with names without parts: a different later one is told, an equal one is not."""
    found = identify({"user.email": "ann@x.io", "user.mail": "bob@x.io"})
    same = identify({"user.email": "ann@x.io", "user.mail": "Ann@x.io"})

    assert (found.value, found.notes) == ({"user.email_sha256": ANN}, (Note.DIGEST_CONFLICT,))
    assert (same.value, same.notes) == ({"user.email_sha256": ANN}, ())


def test_a_crowd_of_ids_is_not_looked_for_one_by_one() -> None:
    """With more advertising ids than an event can have, no text is kept, and the note says so."""
    ids = [f"device-{number:05}" for number in range(200)]
    found = identify({"idfa": ids, "text": f"by {ids[150]}"})

    assert "device-" not in str(found.value)
    assert Note.TEXT_TOO_DENSE in found.notes
