"""What one setting is: how its text is read, what is accepted, and how its value is shown again.

A `Kind` reads text and raises a bare `ValueError` where it does not fit; the caller tells `Kind.expected`, so that no
message ever needs the value.
"""

import base64
import binascii
import enum
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
KEY_BYTES = 32

# What an X.509 public key on the curve P-256 begins with; its point, uncompressed, follows.
_P256_HEADER = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + b"\x04"

# A query could switch off what the client is told about time and certificates, so only a database may stand in it.
_REDIS_URL = re.compile(
    r"(?=[!-~]*\Z)"
    r"(?:rediss?://(?:[^/?#@]*@)?(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?(?:/[0-9]{0,4})?"
    r"|unix://(?:[^/?#@]*@)?/[^?#]+(?:\?db=[0-9]{1,4})?)"
)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class SkanKey(NamedTuple):
    """A public key of Apple's in DER, for postbacks of a version and later ones."""

    version: str
    der: bytes


class Secret:
    """A text that is not shown by `repr`, `str` or a traceback; `reveal` is the one way to it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(set)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to read text: `expected` completes the sentence "expected …", `unit` names what a number counts."""

    parse: Callable[[str], Any]
    expected: str
    unit: str = ""
    show: Callable[[Any], str] = str


@dataclass(frozen=True, slots=True)
class Setting:
    """What is declared of a setting next to its field. `unset` tells what holds when there is no value."""

    kind: Kind
    meaning: str
    unset: str = "unset"
    secret: bool = False


def crosses_in_clear(redis_url: Secret) -> bool:
    """Tell whether what goes to this URL leaves the machine without TLS."""
    url = urlsplit(redis_url.reveal())
    return url.scheme == "redis" and not is_loopback(url.hostname or "")


def text(pattern: str, expected: str) -> Kind:
    """Accept text that matches `pattern` as a whole."""
    compiled = re.compile(pattern)

    def parse(raw: str) -> str:
        if compiled.fullmatch(raw) is None:
            raise ValueError
        return raw

    return Kind(parse, expected)


def integer(minimum: int, maximum: int, unit: str = "") -> Kind:
    """Accept a whole number within the bounds, both included."""
    of_unit = f" {unit}" if unit else ""
    return Kind(
        lambda raw: _bounded(_whole(raw), minimum, maximum),
        f"a whole number from {minimum} to {maximum}{of_unit}",
        unit,
    )


def size(minimum: int, maximum: int) -> Kind:
    """Accept bytes, plain or with KiB, MiB or GiB, within the bounds, both included."""
    expected = f"{show_size(minimum)} to {show_size(maximum)}, plain bytes or a whole number of KiB, MiB or GiB"
    return Kind(lambda raw: _bounded(_bytes(raw), minimum, maximum), expected, "bytes", show_size)


def show_size(count: int) -> str:
    """Write bytes with the largest unit that divides them, in the form that `size` reads."""
    for factor, suffix in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if count and count % factor == 0:
            return f"{count // factor} {suffix}"
    return f"{count}"


def choice(options: type[enum.StrEnum]) -> Kind:
    """Accept exactly one of the options' values, in any case."""
    by_name = {option.value.lower(): option for option in options}

    def parse(raw: str) -> enum.StrEnum:
        if (option := by_name.get(raw.lower())) is None:
            raise ValueError
        return option

    return Kind(parse, "one of " + ", ".join(option.value for option in options))


def secret_text(expected: str) -> Kind:
    """Accept any text and keep it from being shown."""
    return Kind(Secret, expected)


def is_loopback(host: str) -> bool:
    """Tell whether `host`, a name or an address with or without brackets, is this machine by its very spelling.

    No name but `localhost` is: whatever else resolves to loopback now may not do so later.
    """
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def decode_keys(raw: str) -> tuple[bytes, ...]:
    """Decode a comma-separated list of base64 keys of 32 bytes: the first seals, all open. Raises `ValueError`."""
    try:
        keys = tuple(base64.b64decode(part.strip(), validate=True) for part in raw.split(","))
    except binascii.Error:
        raise ValueError("a key is not base64") from None
    if any(len(key) != KEY_BYTES for key in keys):
        raise ValueError("a key does not have 32 bytes")
    return keys


def version_number(text: str) -> tuple[int, int]:
    """Return a version such as `2.1` so that it can be compared; what is none comes before all."""
    found = re.fullmatch(r"([0-9]{1,3})\.([0-9]{1,3})", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _skan_keys(raw: str) -> tuple[SkanKey, ...]:
    if raw.lower() == "none":
        return ()
    keys = [SkanKey(version, base64.b64decode(key, validate=True)) for version, _, key in _entries(raw)]
    if len({key.version for key in keys}) < len(keys) or not all(map(_is_skan_key, keys)):
        raise ValueError
    return tuple(keys)


def _entries(raw: str) -> list[tuple[str, str, str]]:
    return [part.strip().partition(":") for part in raw.split(",")]


def _is_skan_key(key: SkanKey) -> bool:
    is_point = key.der.startswith(_P256_HEADER) and len(key.der) == len(_P256_HEADER) + 2 * KEY_BYTES
    return is_point and version_number(key.version) > (0, 0)


def _keys(raw: str) -> Secret:
    decode_keys(raw)
    return Secret(raw)


def _whole(raw: str) -> int:
    if re.fullmatch(r"[0-9]{1,18}", raw) is None:
        raise ValueError
    return int(raw)


def _bytes(raw: str) -> int:
    match = re.fullmatch(r"([0-9]{1,18}) ?(KiB|MiB|GiB)?", raw)
    if match is None:
        raise ValueError
    return int(match[1]) * {None: 1, "KiB": KIB, "MiB": MIB, "GiB": GIB}[match[2]]


def _bounded(number: int, minimum: int, maximum: int) -> int:
    if not minimum <= number <= maximum:
        raise ValueError
    return number


def _boolean(raw: str) -> bool:
    try:
        return {"true": True, "1": True, "false": False, "0": False}[raw.lower()]
    except KeyError:
        raise ValueError from None


def _networks(raw: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(part.strip()) for part in raw.split(","))


def _brokers(raw: str) -> str:
    brokers = [part.strip() for part in raw.split(",")]
    for broker in brokers:
        match = re.fullmatch(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):([0-9]{1,5})", broker)
        if match is None or not 1 <= int(match[1]) <= 65535:
            raise ValueError
    return ",".join(brokers)


def _postgres_dsn(raw: str) -> Secret:
    if re.fullmatch(r"postgres(?:ql)?://[^\s]+", raw) is None:
        raise ValueError
    urlsplit(raw)
    return Secret(raw)


def _redis_url(raw: str) -> Secret:
    match = _REDIS_URL.fullmatch(raw)
    if match is None or not 1 <= int(match["port"] or 1) <= 65535:
        raise ValueError
    return Secret(raw)


def _webhook_url(raw: str) -> Secret:
    parts = urlsplit(raw)
    if re.fullmatch(r"https?://[^\s@#]+", raw) is None or not parts.hostname:
        raise ValueError
    _bounded(1 if parts.port is None else parts.port, 1, 65535)
    return Secret(raw)


def _base_url(raw: str) -> str:
    parts = urlsplit(raw)
    if re.fullmatch(r"https?://[^\s@?#]+", raw) is None or not parts.hostname:
        raise ValueError
    _bounded(1 if parts.port is None else parts.port, 1, 65535)
    return raw.rstrip("/")


def _smtp_url(raw: str) -> Secret:
    parts = urlsplit(raw)
    if re.fullmatch(r"smtps?://[^\s/?#]+/?", raw) is None or not parts.hostname:
        raise ValueError
    _bounded(1 if parts.port is None else parts.port, 1, 65535)
    if (parts.username is None) != (parts.password is None):
        raise ValueError
    return Secret(raw)


def _paths(raw: str) -> tuple[Path, ...]:
    parts = raw.split(":")
    if not all(parts):
        raise ValueError
    return tuple(Path(part) for part in parts)


def _show_path(path: Path) -> str:
    return str(path) if path.is_absolute() else f"./{path}"


HOST = text(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}", "a host name or an IP address")
PORT = integer(0, 65535)
BOOLEAN = Kind(_boolean, "true, false, 1 or 0", "", lambda flag: "true" if flag else "false")
PATH = Kind(Path, "a path", "", _show_path)
PATHS = Kind(_paths, "one or more paths separated by ':'", "", lambda paths: ":".join(map(_show_path, paths)))
NETWORKS = Kind(
    _networks,
    "networks such as 10.0.0.0/8 without host bits, or addresses, separated by commas",
    "",
    lambda networks: ",".join(map(str, networks)),
)
BROKERS = Kind(_brokers, "host:port, or several separated by commas")
POSTGRES_DSN = Kind(
    _postgres_dsn, "postgresql://user@host:port/database, hosts separated by commas where there are several"
)
KEYS = Kind(_keys, "one or more keys of 32 bytes in base64, separated by commas")
SKAN_KEYS = Kind(
    _skan_keys,
    "none, or VERSION:KEY, a P-256 public key as DER in base64, several separated by commas",
    "",
    lambda keys: ",".join(f"{key.version}:{base64.b64encode(key.der).decode()}" for key in keys),
)
REDIS_URL = Kind(_redis_url, "redis://host:port/db, rediss:// for TLS, or unix:///path?db=0")
WEBHOOK_URL = Kind(_webhook_url, "https://host/path, without user or fragment")
BASE_URL = Kind(_base_url, "https://host or https://host/path, without user, query or fragment")
SMTP_URL = Kind(_smtp_url, "smtp://user:password@host:587 or smtps://user:password@host:465, percent-encoded")
MAIL_ADDRESS = text(r'[^\s@,;<>"]{1,64}@[A-Za-z0-9.-]{1,253}', "an e-mail address")
