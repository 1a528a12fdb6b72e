"""Where a host name leads, and whether an organization may send us there."""

import asyncio
import ipaddress
import socket
from typing import Final

from ingest.notify.failure import Undelivered

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b::/96")


async def resolve(host: str, port: int, *, public_only: bool) -> list[str]:
    """Return the addresses of a host, as text, in the order to be tried.

    Raises `Undelivered` where there is none, or with `public_only` where any of them is not of the public internet: a
    name must not lead into our own network. Whoever calls connects to what was checked and asks no second time.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Undelivered("name_not_resolved") from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if public_only and not all(is_public(ipaddress.ip_address(address)) for address in addresses):
        raise Undelivered("address_not_public")
    return addresses


def is_public(address: Address) -> bool:
    """Tell whether an address is a single host of the public internet, an IPv4 address inside of it included."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in _TRANSLATED:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
        if address.is_site_local or address.sixtofour is not None:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved
