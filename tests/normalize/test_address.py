from ipaddress import IPv6Address, ip_address

import pytest

from normalize import NONE, OwnAddresses

V4 = OwnAddresses([ip_address("203.0.113.7")])
V6 = OwnAddresses([ip_address("2001:db8::1")])
BOTH = OwnAddresses([ip_address("203.0.113.7"), ip_address("fe80::a:1")])


@pytest.mark.parametrize(
    "spelling",
    ["203.0.113.7", "203.000.113.007", "::ffff:203.0.113.7", "::FFFF:CB00:7107", "0:0:0:0:0:ffff:cb00:7107",
     "0000:0000:0000:0000:0000:ffff:203.0.113.7", "203%2E0%2e113.7", "203%252E0.113.7", "[::ffff:203.0.113.7]"],
)  # fmt: skip
def test_an_ipv4_address_is_cut_in_any_spelling(spelling: str) -> None:
    """Dots, padding, the mapped form and percent-encoding do not hide it; a port after it stays."""
    assert V4.cut(f"a {spelling}:443, b") == "a :443, b"


@pytest.mark.parametrize(
    "spelling",
    ["2001:db8::1", "2001:DB8::1", "2001:0db8::0001", "2001:db8:0:0:0:0:0:1", "2001:db8:0::0:1", "2001:db8::0.0.0.1",
     "2001:0DB8:0000:0000:0000:0000:0000:0001", "[2001:db8::1]", "2001:db8::1%eth0", "2001:db8::1%25en0",
     "2001%3Adb8%3A%3A1", "2001%253adb8::1", "[2001:db8::1%25eth0]"],
)  # fmt: skip
def test_an_ipv6_address_is_cut_in_any_spelling(spelling: str) -> None:
    """Compression, case, dotted tails, zones, brackets and percent-encoding do not hide it."""
    assert V6.cut(f"source:{spelling}, b") == "source:, b"


@pytest.mark.parametrize(
    "text",
    ["203.0.113.71", "1203.0.113.7", "203.0.113", "203.0.112.7", "2001:db8::2", "2001:db8:0:0:1::", "12:30:45", "",
     "fe80::1", "version 1.2.3.4"],
)  # fmt: skip
def test_other_numbers_are_left_alone(text: str) -> None:
    """Somebody else's address, a longer number, a time or a version is kept."""
    assert V4.cut(text) == V6.cut(text) == BOTH.cut(text) == text


def test_an_encoded_character_is_no_zone() -> None:
    """A space that follows in encoded form is kept with what comes after it."""
    assert V6.cut("2001:db8::1%20and%20more") == "%20and%20more"


def test_several_addresses() -> None:
    """All addresses of the request are cut, as often as they occur."""
    assert BOTH.cut("203.0.113.7;FE80::A:1;203.0.113.7") == ";;"


def test_a_mapped_address_is_its_ipv4_address() -> None:
    """A socket that listens on IPv6 shows IPv4 clients in mapped form."""
    assert OwnAddresses([IPv6Address("::ffff:203.0.113.7")]).cut("203.0.113.7") == ""


def test_nothing_to_look_for() -> None:
    """Without an address there is no needle, and no text changes."""
    assert not NONE
    assert NONE.needles == ()
    assert NONE.cut("203.0.113.7 ::1") == "203.0.113.7 ::1"


def test_the_repr_tells_no_address() -> None:
    """A repr may reach a log."""
    assert repr(BOTH) == "<2 own addresses>"


@pytest.mark.parametrize(
    ("own", "text", "left"),
    [
        ("203.0.113.7", "peer:::ffff:cb00:7107", "peer:"),
        ("2001:db8::", "2001:db8::abcd", "2001:db8::abcd"),
        ("2001:db8::", "net 2001:db8::/32", "net /32"),
        ("::1", "std::1", "std::1"),
        ("::1", "by ::1", "by "),
    ],
)
def test_an_address_is_cut_where_it_stands_alone(own: str, text: str, left: str) -> None:
    """A label before it does not hide it, and a longer address or a word that ends alike is left alone."""
    assert OwnAddresses([ip_address(own)]).cut(text) == left
