"""The client's address: read here, turned into a region, and gone with the request.

`see` is the only reader of the socket address and of the headers that spell one. What it returns keeps the address in
one place, `own`, so that the pipeline can take it out of the events.
"""

import re
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

import msgspec

from ingest.edge.region import Address, Regions
from ingest.pipeline.request import NOWHERE, Region

HOPS_MAX: Final = 8
"""Entries of `X-Forwarded-For` that are read, counted from the nearest hop; more proxies in a row nobody has."""

PROXIES_KEPT_MAX: Final = 1024
"""Trusted proxies whose spelling is remembered."""

_CONNECTING_IP: Final = b"cf-connecting-ip"
_FORWARDED_FOR: Final = b"x-forwarded-for"

_WITH_PORT: Final = re.compile(r"\[([0-9A-Fa-f:.]+)(?:%[^\]]*)?\](?::[0-9]+)?|([0-9.]+):[0-9]+|([0-9A-Fa-f:.]+)%.*")
_MAPPED: Final = 0xFFFF

Headers = Iterable[tuple[bytes, bytes]]
"""Names in lower case, as ASGI has them."""


class TrustedProxies:
    """The networks whose word about the client is believed; none is trusted by default."""

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network] = ()) -> None:
        v4: list[tuple[int, int]] = []
        v6: list[tuple[int, int]] = []
        for network in networks:
            side = v4 if isinstance(network, IPv4Network) else v6
            side.append((int(network.netmask), int(network.network_address)))
        self._v4 = tuple(v4)
        self._v6 = tuple(v6)
        self._proxies: set[str] = set()

    @classmethod
    def parse(cls, text: str) -> "TrustedProxies":
        """Read networks or single addresses, separated by commas or white space; raises `ValueError` on any other."""
        return cls(ip_network(entry) for entry in text.replace(",", " ").split())

    def __bool__(self) -> bool:
        """Return whether anybody is trusted."""
        return bool(self._v4 or self._v6)

    def trusts(self, address: Address) -> bool:
        """Return whether `address` lies in one of the networks."""
        number = int(address)
        networks = self._v4 if address.version == 4 else self._v6
        return any(number & mask == network for mask, network in networks)

    def trusts_host(self, host: str) -> bool:
        """Return whether a socket's host is a trusted proxy. Known proxies are remembered, clients never."""
        if host in self._proxies:
            return True
        address = _address(host)
        if address is None or not self.trusts(address):
            return False
        if len(self._proxies) < PROXIES_KEPT_MAX:
            self._proxies.add(host)
        return True


class Seen(msgspec.Struct, frozen=True):
    """What a request keeps of where it came from.

    `own` are the addresses that spell this client, its best known one first; they must not outlive the request. Empty
    on a socket without addresses.
    """

    region: Region
    own: tuple[Address, ...]

    def __repr__(self) -> str:
        """Leave the addresses out: a representation ends in logs and error reports."""
        return f"Seen(region={self.region}, own=<{len(self.own)}>)"


def see(peer_host: str | None, headers: Headers, trusted: TrustedProxies, regions: Regions) -> Seen:
    """Return the region of the client behind a socket's host and a request's headers. Raises nothing."""
    own = resolve(peer_host, headers, trusted)
    return Seen(regions.lookup(own[0]) if own else NOWHERE, own)


def resolve(peer_host: str | None, headers: Headers, trusted: TrustedProxies) -> tuple[Address, ...]:
    """Return `own` of `Seen`: by the socket, or by what a trusted proxy on it says. Raises nothing.

    Of a trusted proxy `CF-Connecting-IP` is believed if it stands there once and is an address; else
    `X-Forwarded-For`, all lines as one, from the nearest hop outwards: trusted hops are passed over, the first other
    one is the client, and at anything but an address the walk ends with what it has. Addresses further out are
    believed to be the client's own too (its network's inner address, say), but never the first. An untrusted peer's
    headers are not read.
    """
    if peer_host is None:
        return ()
    if not trusted.trusts_host(peer_host):
        return _socket_only(peer_host)
    connecting: list[bytes] = []
    forwarded: list[bytes] = []
    for name, value in headers:
        if name == _FORWARDED_FOR:
            forwarded.append(value)
        elif name == _CONNECTING_IP:
            connecting.append(value)
    own = _hops(forwarded, trusted) if forwarded else ()
    if len(connecting) == 1:
        client = _entry(connecting[0])
        if client is not None:
            own = (client, *(address for address in own if address != client))
    return own or _socket_only(peer_host)


def _socket_only(peer_host: str) -> tuple[Address, ...]:
    peer = _address(peer_host)
    return () if peer is None else (peer,)


def _hops(lines: list[bytes], trusted: TrustedProxies) -> tuple[Address, ...]:
    """Return the untrusted hops, nearest first; if all are trusted, the furthest one: the client is inside, too."""
    line = lines[0] if len(lines) == 1 else b",".join(lines)
    if b"," not in line:
        client = _entry(line)
        return () if client is None else (client,)
    untrusted: list[Address] = []
    furthest: tuple[Address, ...] = ()
    for entry in reversed(line.rsplit(b",", HOPS_MAX)[-HOPS_MAX:]):
        if not entry.strip():
            continue  # an empty element of a list counts for nothing (RFC 9110, 5.6.1)
        address = _entry(entry)
        if address is None:
            break
        if trusted.trusts(address):
            furthest = (address,)
        else:
            untrusted.append(address)
    return tuple(untrusted) or furthest


def _entry(value: bytes) -> Address | None:
    """Read one element: an address, maybe with a port, brackets or a zone id; None for anything else."""
    text = value.strip().decode("latin-1")
    address = _address(text)
    if address is None and (match := _WITH_PORT.fullmatch(text)):
        address = _address(match[match.lastindex or 0])
    return address


def _address(text: str) -> Address | None:
    """Read one plain address, IPv4-mapped ones as IPv4; `inet_pton` needs a fifth of the time of `ip_address`."""
    try:
        if ":" not in text:
            return IPv4Address(int.from_bytes(socket.inet_pton(socket.AF_INET, text), "big"))
        number = int.from_bytes(socket.inet_pton(socket.AF_INET6, text), "big")
    except (OSError, ValueError):
        return None
    return IPv4Address(number & 0xFFFFFFFF) if number >> 32 == _MAPPED else IPv6Address(number)
