"""Laws of the normal forms, for any value that JSON can hold."""

import json
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from urllib.parse import quote

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from normalize import NONE, SUSPECT, OwnAddresses, email_digest, family, identify, is_plain, phone_digests, scrub_text
from normalize.members import EXEMPT, FAMILIES

quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

EMAIL, PHONE, ADDRESS = "Jane.Roe@Example.com", "+1 (415) 555-2671", "203.0.113.77"
IDFA = "6D92078A-8246-4BA4-AE5B-76104861E7DC"
OWN = OwnAddresses([IPv4Address(ADDRESS), IPv6Address("2001:db8::17")])

pieces = st.sampled_from(
    [EMAIL, PHONE, ADDRESS, IDFA, "2001:DB8::17", "00000000-0000-0000-0000-000000000000", "12345678", "\ud800", "é",
     "@", "%", "%40", "%2540", "%25", "%3D", "%26", "%C3", "+", "=", "&", "?", "#", ";", " ", ".", "/", ":", "[", "]",
     "email", "phone", "ip", "idfa", "imei", "a", "1", "x=1", "(0)", "_sha256", "user[email]"]
)  # fmt: skip
texts = st.one_of(st.text(max_size=12), st.lists(pieces, max_size=8).map("".join))
family_names = st.one_of(
    st.sampled_from(sorted(name for names in FAMILIES.values() for name in names)),
    st.sampled_from(["email_hash", "email_sha256", "phone_sha256", "phone_e164_sha256", "user.email", "a[tel]"]),
)
names = st.one_of(texts, family_names, st.sampled_from(sorted(EXEMPT)))
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), texts)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4), max_leaves=12
)


@quick
@given(values)
def test_a_second_time_changes_nothing(value: Any) -> None:
    """Whatever is sent, identifying does not raise, and what it gives is left alone from then on."""
    once = identify(value, OWN).value
    assert identify(once, OWN).value == once


@quick
@given(texts)
def test_a_scrubbed_text_is_left_alone(text: str) -> None:
    """A text is done after one call."""
    once, _ = scrub_text(text, OWN, (IDFA,))
    assert scrub_text(once, OWN, (IDFA,)) == (once, ())


edges = st.sampled_from(["", " ", "<", "(", ", ", "\n", '"', "/", "?q=", "&", " é "])


@quick
@given(
    st.sampled_from([EMAIL, PHONE, ADDRESS, IDFA]),
    edges,
    edges,
    st.integers(0, 3),
    st.one_of(family_names, st.text(max_size=8).filter(lambda name: name not in EXEMPT)),
)
def test_nothing_planted_comes_out(secret: str, before: str, after: str, levels: int, name: str) -> None:
    """An e-mail address, a phone number, an own address or an advertising id does not survive in any text or name."""
    planted = secret
    for _ in range(levels):
        planted = quote(planted, safe="")
    text = before + planted + after
    value = {name: text, "deep": [{"text": text, text: 1}], "idfa": IDFA}
    out = json.dumps(identify(value, OWN).value, ensure_ascii=False).lower()
    assert secret.lower() not in out
    assert planted.lower() not in out


inert_names = st.text(max_size=8).filter(is_plain)
inert = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text("abcé .,!:-/", max_size=20)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(inert_names, inner, max_size=4),
    max_leaves=12,
)


@quick
@given(inert)
def test_unknown_members_are_kept(value: Any) -> None:
    """What identifies nobody comes out equal, in the same order, without a note."""
    found = identify(value, NONE)
    assert json.dumps(found.value) == json.dumps(value)
    assert found.notes == ()


@quick
@given(texts)
def test_texts_without_a_suspect_mark_are_kept(text: str) -> None:
    """JSON without any of `SUSPECT` holds no text that would change."""
    encoded = json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass")
    if not any(mark in encoded for mark in SUSPECT):
        assert scrub_text(text, NONE) == (text, ())


@quick
@given(names)
def test_plain_names_are_kept(name: str) -> None:
    """A plain name is in no family, and no rule for texts changes it."""
    if is_plain(name):
        assert family(name) is None
        assert scrub_text(name, OWN) == (name, ())


@st.composite
def spelled_v4(draw: st.DrawFn) -> tuple[IPv4Address, str]:
    """Draw an IPv4 address and one of its spellings."""
    octet = st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 10, 127, 255]))
    octets = [draw(octet) for _ in range(4)]
    dotted = ".".join(str(value).rjust(draw(st.integers(1, 3)), "0") for value in octets)
    address = IPv4Address(bytes(octets))
    if draw(st.booleans()):
        return address, dotted
    _, spelling = draw(spelled_v6(IPv6Address(bytes(10) + b"\xff\xff" + address.packed)))
    return address, spelling


@st.composite
def spelled_v6(draw: st.DrawFn, given_address: IPv6Address | None = None) -> tuple[IPv6Address, str]:
    """Draw an IPv6 address and one of its spellings."""
    group = st.one_of(st.just(0), st.integers(0, 0xFFFF), st.integers(0, 15))
    packed = b"".join(draw(group).to_bytes(2, "big") for _ in range(8))
    address = given_address or IPv6Address(packed)
    groups = [int.from_bytes(address.packed[at : at + 2], "big") for at in range(0, 16, 2)]
    spelled = [f"{value:x}".rjust(draw(st.integers(1, 4)), "0") for value in groups]
    if draw(st.booleans()):
        spelled[6:] = [".".join(str(octet) for octet in address.packed[12:])]
    gaps = [
        (start, stop)
        for start in range(len(spelled))
        for stop in range(start + 1, len(spelled) + 1)
        if not any(groups[start:stop]) and (stop <= 6 or len(spelled) == 8)
    ]
    text = ":".join(spelled)
    if draw(st.booleans()) and gaps:
        start, stop = draw(st.sampled_from(gaps))
        text = ":".join(spelled[:start]) + "::" + ":".join(spelled[stop:])
    text = text.upper() if draw(st.booleans()) else text
    zone = draw(st.sampled_from(["", "%eth0", "%25en0", "%1"]))
    return address, draw(st.sampled_from(["{}", "[{}]"])).format(text + zone)


@settings(quick, max_examples=400)
@given(st.one_of(spelled_v4(), spelled_v6()))
def test_every_spelling_of_an_own_address_is_seen_and_cut(spelled: tuple[IPv4Address | IPv6Address, str]) -> None:
    """The needles miss no spelling, and nothing of it is left in a text."""
    address, spelling = spelled
    own = OwnAddresses([address])
    encoded = json.dumps({"text": f"by {spelling}, or"}).lower()
    assert any(needle in encoded for needle in own.needles)
    assert own.cut(f"by {spelling}, or") == "by , or"


@quick
@given(st.text())
def test_normal_forms_ignore_what_they_should(text: str) -> None:
    """White space around and case make no difference to an address, nor anything but digits to a number."""
    assert email_digest(f" {text}\n") == email_digest(text)
    assert email_digest(text.strip().lower()) == email_digest(text)
    found, spaced = phone_digests(text), phone_digests("x".join(text))
    assert (found and found.digits) == (spaced and spaced.digits)
