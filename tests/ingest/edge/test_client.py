"""Who is asking: the socket, or what a trusted proxy says, whatever stands in the headers."""

from ipaddress import IPv6Address, ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.edge.client import HOPS_MAX, PROXIES_KEPT_MAX, Seen, TrustedProxies, resolve, see
from ingest.edge.region import Regions
from ingest.pipeline.request import NOWHERE, Region

DEMO = Path(__file__).parents[3] / "examples" / "demo-geo.mmdb"
TRUSTED = TrustedProxies.parse("127.0.0.1, ::1 10.0.0.0/8,2001:db8:ffff::/48")
PROXY = "127.0.0.1"


def own(peer_host: str | None, *headers: tuple[str, str], trusted: TrustedProxies = TRUSTED) -> list[str]:
    """Return the addresses that are held to be the client's."""
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return [str(address) for address in resolve(peer_host, encoded, trusted)]


def forwarded(*lines: str) -> list[str]:
    """Return the addresses behind a trusted proxy that sends these lines."""
    return own(PROXY, *(("x-forwarded-for", line) for line in lines))


@pytest.mark.parametrize("peer", ["203.0.113.9", "2001:db8::9", "11.0.0.1"])
def test_an_untrusted_peer_is_the_client(peer: str) -> None:
    """What anybody may write into a header is not believed, and not even kept."""
    assert own(peer, ("x-forwarded-for", "198.51.100.1"), ("cf-connecting-ip", "198.51.100.2")) == [peer]


def test_nobody_is_trusted_by_default() -> None:
    """Without a setting, loopback is a client like any other."""
    assert not TrustedProxies()
    assert TRUSTED
    assert own(PROXY, ("x-forwarded-for", "203.0.113.9"), trusted=TrustedProxies()) == [PROXY]
    assert own(PROXY, ("x-forwarded-for", "203.0.113.9"), trusted=TrustedProxies.parse("")) == [PROXY]


@pytest.mark.parametrize("peer", [None, "", "testclient", "/run/edge.sock", "999.1.1.1", "1.2.3.4\0"])
def test_a_socket_without_an_address_has_no_client(peer: str | None) -> None:
    """A peer that is no address is nobody, and nobody is trusted."""
    assert own(peer, ("x-forwarded-for", "203.0.113.9")) == []


def test_a_proxy_that_says_nothing_is_the_client() -> None:
    """Without a header, and with one that holds no address, the socket is all that is known."""
    assert own(PROXY) == [PROXY]
    assert forwarded("") == [PROXY]
    assert forwarded(" , ,") == [PROXY]
    assert forwarded("unknown") == [PROXY]
    assert forwarded("203.0.113.9, unknown") == [PROXY]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("203.0.113.9", "203.0.113.9"),
        (" 203.0.113.9\t", "203.0.113.9"),
        ("203.0.113.9:5678", "203.0.113.9"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("[::ffff:cb00:7109]:443", "203.0.113.9"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:443", "fe80::1"),
    ],
)
def test_an_address_is_read_however_it_is_spelled(text: str, address: str) -> None:
    """Ports, brackets, zone ids and IPv4-mapped spellings are taken off, in either header."""
    assert forwarded(text) == [address]
    assert forwarded(f"{text}, 10.1.1.1") == [address]
    assert own(PROXY, ("cf-connecting-ip", text)) == [address]


@pytest.mark.parametrize(
    "text",
    ["unknown", "_hidden", "203.0.113", "203.0.113.9.", "203.0.113.09", "0x7f.1", "203.0.113.9:", "203.0.113.9:x",
     "[203.0.113.9]x", "[2001:db8::1", "2001:db8::1]:4", "1.2.3.4 5.6.7.8", "\xff", "for=203.0.113.9"],
)  # fmt: skip
def test_junk_ends_the_walk(text: str) -> None:
    """At anything but an address the walk stops with the last good one; what stands behind it is not believed."""
    assert forwarded(f"198.51.100.1, {text}, 10.1.1.1") == ["10.1.1.1"]
    assert forwarded(f"198.51.100.1, {text}, 203.0.113.1, 10.1.1.1") == ["203.0.113.1"]


def test_trusted_hops_are_passed_over_from_the_right() -> None:
    """The nearest hop that is not trusted is the client; what it claims itself never comes first."""
    assert forwarded("203.0.113.9, 10.1.1.1, 2001:db8:ffff::7") == ["203.0.113.9"]
    assert forwarded("198.51.100.1, 203.0.113.9, 10.1.1.1") == ["203.0.113.9", "198.51.100.1"]
    assert forwarded("127.0.0.1, 203.0.113.9") == ["203.0.113.9"]
    assert forwarded("10.3.3.3, 10.2.2.2") == ["10.3.3.3"]


def test_lines_of_one_header_are_one_list() -> None:
    """A proxy may add a line instead of an element."""
    assert forwarded("198.51.100.1", "203.0.113.9", "10.1.1.1") == ["203.0.113.9", "198.51.100.1"]


def test_only_the_nearest_hops_are_read() -> None:
    """A header of thousands of addresses costs no more than a few."""
    line = ", ".join(f"203.0.113.{number % 250}" for number in range(2000))
    assert len(forwarded(line)) == HOPS_MAX


def test_cloudflare_comes_before_forwarded_for() -> None:
    """`CF-Connecting-IP` wins where it stands once and is an address; else it is as if it were not there."""
    line = ("x-forwarded-for", "198.51.100.1")
    assert own(PROXY, ("cf-connecting-ip", "203.0.113.9"), line) == ["203.0.113.9", "198.51.100.1"]
    assert own(PROXY, line, ("cf-connecting-ip", "198.51.100.1")) == ["198.51.100.1"]
    assert own(PROXY, ("cf-connecting-ip", "unknown"), line) == ["198.51.100.1"]
    twice = ("cf-connecting-ip", "203.0.113.9"), ("cf-connecting-ip", "203.0.113.8")
    assert own(PROXY, *twice, line) == ["198.51.100.1"]


def test_a_mapped_peer_is_trusted_like_the_plain_one() -> None:
    """A socket that takes both families spells IPv4 peers as mapped ones."""
    assert own("::ffff:127.0.0.1", ("x-forwarded-for", "203.0.113.9")) == ["203.0.113.9"]
    assert own("::ffff:203.0.113.9") == ["203.0.113.9"]


@pytest.mark.parametrize("text", ["10.0.0.1/8", "localhost", "10.0.0.0/33", "10.0.0.0/8;::1"])
def test_a_bad_network_is_refused(text: str) -> None:
    """A setting that cannot be meant, such as a network with host bits, stops the start."""
    with pytest.raises(ValueError):
        TrustedProxies.parse(text)


def test_proxies_are_remembered_but_clients_never() -> None:
    """The memory of socket hosts is bounded and holds hosts of trusted networks only."""
    trusted = TrustedProxies.parse("10.0.0.0/8")
    for number in range(PROXIES_KEPT_MAX + 10):
        assert trusted.trusts_host(f"10.0.{number // 250}.{number % 250}")
        assert not trusted.trusts_host(f"11.0.{number // 250}.{number % 250}")
    assert len(trusted._proxies) == PROXIES_KEPT_MAX
    assert all(host.startswith("10.") for host in trusted._proxies)


def test_what_is_seen_is_a_region_and_hides_the_address() -> None:
    """The region is that of the client, and no address shows in a representation."""
    seen = see(PROXY, [(b"x-forwarded-for", b"203.0.113.9")], TRUSTED, Regions([DEMO]))
    assert seen == Seen(Region("DE", "BE"), (ip_address("203.0.113.9"),))
    assert "203.0.113.9" not in f"{seen} {seen!r}"
    assert see(None, [], TRUSTED, Regions([])) == Seen(NOWHERE, ())


ELEMENTS = st.one_of(
    st.ip_addresses().map(lambda address: str(address).encode()),
    st.binary(max_size=30),
    st.text(alphabet="0123456789abcdef:.[]% ,\"'", max_size=40).map(str.encode),
)
LINES = st.lists(st.lists(ELEMENTS, max_size=5).map(b", ".join), max_size=3)
NAMES = st.sampled_from([b"x-forwarded-for", b"cf-connecting-ip", b"host"])


@given(peer=st.one_of(st.none(), st.text(max_size=20), st.just(PROXY)), lines=LINES, name=NAMES)
def test_no_header_raises(peer: str | None, lines: list[bytes], name: bytes) -> None:
    """Whatever a client or a proxy writes, there is an answer, and it holds plain addresses only."""
    addresses = resolve(peer, [(name, line) for line in lines], TRUSTED)
    assert len(addresses) <= HOPS_MAX + 1
    for address in addresses:
        assert not isinstance(address, IPv6Address) or (address.ipv4_mapped is None and address.scope_id is None)


@given(client=st.ip_addresses(), claimed=st.lists(st.ip_addresses(), max_size=20))
def test_the_nearest_hop_wins_over_any_claim(client: object, claimed: list[object]) -> None:
    """Addresses that a client writes in front of its own do not change who it is."""
    trusted = TrustedProxies.parse("127.0.0.1")
    alone = resolve(PROXY, [(b"x-forwarded-for", str(client).encode())], trusted)
    line = ", ".join(map(str, [*claimed, client])).encode()
    if str(client) != PROXY:
        assert resolve(PROXY, [(b"x-forwarded-for", line)], trusted)[0] == alone[0]
