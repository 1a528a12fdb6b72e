import asyncio
import ipaddress

import pytest

from ingest.notify.addresses import is_public, resolve
from ingest.notify.failure import Undelivered


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses(address: str) -> None:
    """Hosts of the internet are public, in the forms that hold an IPv4 address too."""
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "255.255.255.255", "240.0.0.1", "::", "::1", "fe80::1", "fd00::1", "fec0::1", "ff02::1"),
        *("::ffff:10.0.0.1", "::10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "2001:db8::1", "fe80::1%1"),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    """Loopback, private, link-local, shared, multicast and reserved addresses are not, however they are written."""
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("127.0.0.1", "address_not_public"),
        ("localhost", "address_not_public"),
        ("2130706433", "address_not_public"),  # 127.0.0.1 as one number, which resolvers understand
        ("::1", "address_not_public"),
        ("no-such-host.invalid", "name_not_resolved"),
        ("a" * 64 + ".invalid", "name_not_resolved"),
    ],
)
def test_what_is_refused(host: str, code: str) -> None:
    """A name that leads to this machine, or nowhere, is refused with its code."""
    with pytest.raises(Undelivered) as caught:
        asyncio.run(resolve(host, 443, public_only=True))

    assert caught.value.code == code


def test_anything_goes_where_all_is_trusted() -> None:
    """Without the guard a private address is returned."""
    assert asyncio.run(resolve("127.0.0.1", 80, public_only=False)) == ["127.0.0.1"]
