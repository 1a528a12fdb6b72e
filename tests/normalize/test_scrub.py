from hashlib import sha256
from ipaddress import ip_address

import pytest

from normalize import NONE, Note, OwnAddresses, scrub_text

OWN = OwnAddresses([ip_address("203.0.113.7"), ip_address("2001:db8::1")])
IDFA = "6D92078A-8246-4BA4-AE5B-76104861E7DC"
ZERO = "00000000-0000-0000-0000-000000000000"


def digest(text: str) -> str:
    """Hash as a consumer would."""
    return sha256(text.encode()).hexdigest()


ANN = digest("ann@example.com")
TEL = digest("14155552671")
E164 = digest("+14155552671")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("to Ann@Example.com now", f"to sha256:{ANN} now"),
        ("to ann%40example.com now", f"to sha256:{ANN} now"),
        ("to%3Aann%2540example.com%20now", f"to%3Asha256:{ANN}%20now"),
        ("ann%252540example.com", f"sha256:{ANN}"),
        ("j%C3%B6rg%40x%20", f"sha256:{digest('jörg@x')}%20"),
        ("a%2Bb@x", f"sha256:{digest('a+b@x')}"),
        ("call +1 415 555-2671.", f"call sha256:{TEL}."),
        ("call %2B1%20415%20555-2671", f"call sha256:{TEL}"),
        ("mailto:ann@example.com?x=1", f"mailto:sha256:{ANN}?x=1"),
        ("tel:+14155552671", f"tel:sha256:{TEL}"),
    ],
)
def test_addresses_and_numbers_become_digests_in_place(text: str, expected: str) -> None:
    """Encoded or not, the digest is that of the normal form, and what stands around is kept."""
    assert scrub_text(text, NONE) == (expected, (Note.TEXT_SCRUBBED,))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://x.io/?email=Ann%40Example.com&p=1", f"https://x.io/?email_sha256={ANN}&p=1"),
        ("https://x.io/#email=ann@example.com", f"https://x.io/#email_sha256={ANN}"),
        ("https://x.io/?phone=%2B14155552671", f"https://x.io/?phone_sha256={TEL}&phone_e164_sha256={E164}"),
        ("phone=+1 415 555 2671 today", f"phone_sha256={TEL}&phone_e164_sha256={E164} today"),
        ("tel=4155552671", f"phone_sha256={digest('4155552671')}"),
        ("user%5Bemail%5D=ann@example.com", f"user%5Bemail_sha256%5D={ANN}"),
        ("user.e-mail=ann@example.com&z", f"user.email_sha256={ANN}&z"),
        (f"email_hash={ANN.upper()}", f"email_sha256={ANN}"),
        ("email_hash=ann@example.com", f"email_sha256={ANN}"),
        ("a=1&ip=1.2.3.4&b=2", "a=1&b=2"),
        ("a=1&idfa=x&imei=y", "a=1"),
        ("https://x.io/?ip=1.2.3.4", "https://x.io/"),
        ("https://x.io/?ip=1.2.3.4&gaid=5&p=1", "https://x.io/?p=1"),
        ("email=&p=1", "p=1"),
        ("utm_source=a%26ip%3D1.2.3.4%26x%3D1", "utm_source=a%26x%3D1"),
        ("u=https%3A%2F%2Fx.io%3Femail%3Dann%2540example.com", f"u=https%3A%2F%2Fx.io%3Femail_sha256%3D{ANN}"),
        ("u=a%26tel%3D%252B14155552671", f"u=a%26phone_sha256%3D{TEL}%26phone_e164_sha256%3D{E164}"),
        ("email=john%26co@x", f"email_sha256={digest('john&co@x')}"),
        ("note=from ann@example.com", f"note=from sha256:{ANN}"),
    ],
)
def test_parameters_follow_the_rules_for_members(text: str, expected: str) -> None:
    """In URLs and query strings, encoded ones inside others included, by name; other values by the rule for texts."""
    assert scrub_text(text, NONE)[0] == expected


@pytest.mark.parametrize(
    "text",
    ["", "plain", "a=b&c=d", "https://x.io/email=1?x=2", "50% off", "%zz", "x = 5", "@handle", "1e+21", "a==", "\ud800",
     "2026-11-24T10:00:00+01:00", f"sha256:{ANN}", f"email_sha256={ANN}", "utm_source=google-play&utm_medium=organic"],
)  # fmt: skip
def test_other_texts_are_kept(text: str) -> None:
    """What identifies nobody is not touched, and leaves no note."""
    assert scrub_text(text, OWN, (IDFA,)) == (text, ())


@pytest.mark.parametrize(
    ("text", "expected", "note"),
    [
        ("from 203.0.113.7!", "from !", Note.OWN_ADDRESS_REMOVED),
        ("[2001:DB8::0001%25eth0]:443", ":443", Note.OWN_ADDRESS_REMOVED),
        ("203%2E0%2E113%2E7", "", Note.OWN_ADDRESS_REMOVED),
        ("203.0.11[2001:db8::1]3.7", "", Note.OWN_ADDRESS_REMOVED),
        (f"id {ZERO}", "id ", Note.ZERO_ID_REMOVED),
        (f"id {IDFA.lower()}, {IDFA.replace('-', '')}", "id , ", Note.ADVERTISING_ID_REMOVED),
    ],
)
def test_what_must_not_stay_is_cut_out(text: str, expected: str, note: Note) -> None:
    """Own addresses, the zero id and advertising ids leave nothing behind, even where a cut makes a new one."""
    assert scrub_text(text, OWN, (IDFA,)) == (expected, (note,))


def test_a_short_advertising_id_counts_as_a_whole_text_only() -> None:
    """A value of less than 8 characters would be found in too much."""
    assert scrub_text("AB12", NONE, ("ab12",))[0] == ""
    assert scrub_text("x ab12", NONE, ("ab12",))[0] == "x ab12"


def test_a_text_built_to_outlast_the_rounds_is_dropped() -> None:
    """Nested so that every cut makes the next match, nothing of it is kept."""
    text = "203.0.113.7"
    for _ in range(4):
        text = f"203.0.1[2001:d{text}b8::1]13.7"
    assert scrub_text(text, OWN)[0] == ""


HOSTILE = [
    *("a", "@", "+1", "+", "%", "%40", "%2525", "=", "1", "1.", "a@", "a@b ", "ip=&", "email=a&", "phone=+1&", "2001:"),
    *(
        "2001:db8::",
        "203.0.",
        ":",
        "[email]",
        "%e2%82%ac",
        "%ff",
        "email%3Da%26",
        "00000000",
        "0000-",
        "+((",
        "\ud800@",
    ),
]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_texts_take_bounded_time(unit: str) -> None:
    """The longest text that an event can hold, of one repeated piece, ends; a second time changes nothing."""
    text = (unit * 32768)[:32768]
    once, _ = scrub_text(text, OWN, ("abcdefgh1",))
    assert scrub_text(once, OWN, ("abcdefgh1",))[0] == once
