"""What every answer has in common: request ids, the error envelope, retry advice and the CORS headers.

Header names are lower-case bytes, ready for an ASGI `http.response.start`.
"""

import os
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from ingest.errors import Code

Header = tuple[bytes, bytes]

JSON_CONTENT: Final[Header] = (b"content-type", b"application/json")

# Crockford's base 32 leaves out I, L, O and U.
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = [first + second for first in _ALPHABET for second in _ALPHABET]
_BYTE_TO_SYMBOL: Final = bytes(ord(_ALPHABET[byte & 31]) for byte in range(256))
_TAIL_SYMBOLS: Final = 16
_TAILS_PER_BLOCK: Final = 256


class RequestIds:
    """Makes request ids: `req_` and a ULID, 48 bits of Unix milliseconds and 80 bits from the system's random source.

    `python-ulid` takes about 6 us for one, four times what the hot path may spend, so the 26 symbols are put together
    here: randomness is drawn in blocks, and the slow-moving front of the time is kept. A forked child draws anew.
    """

    __slots__ = ("_clock_ns", "_entropy", "_front", "_front_key", "_tails")

    def __init__(
        self, clock_ns: Callable[[], int] = time.time_ns, entropy: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._clock_ns = clock_ns
        self._entropy = entropy
        self._tails: list[str] = []
        self._front_key = -1
        self._front = ""
        os.register_at_fork(after_in_child=self._tails.clear)

    def new(self) -> str:
        """Return a new request id, 30 characters."""
        milliseconds = self._clock_ns() // 1_000_000
        front_key = milliseconds >> 10
        if front_key != self._front_key:
            self._front = "req_" + "".join(_PAIRS[front_key >> shift & 1023] for shift in (30, 20, 10, 0))
            self._front_key = front_key
        try:
            tail = self._tails.pop()
        except IndexError:
            tail = self._refill()
        return self._front + _PAIRS[milliseconds & 1023] + tail

    def _refill(self) -> str:
        # 256 is a multiple of 32, so every symbol is equally likely.
        symbols = self._entropy(_TAIL_SYMBOLS * _TAILS_PER_BLOCK).translate(_BYTE_TO_SYMBOL).decode("ascii")
        tails = [symbols[at : at + _TAIL_SYMBOLS] for at in range(0, len(symbols), _TAIL_SYMBOLS)]
        last = tails.pop()
        self._tails.extend(tails)
        return last


new_request_id = RequestIds().new

encode = msgspec.json.Encoder().encode
"""Returns any value as JSON bytes."""

_accepted = re.compile(
    rb"req_[0-7][0-9A-HJKMNP-TV-Z]{25}|[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"
).fullmatch


def accepted_request_id(header: bytes | None) -> str | None:
    """Return the client's `X-Request-Id` if it is `req_` and a ULID in upper case, or a UUID; else None.

    The all-zero UUID stands for a device that gave none, and is kept nowhere.
    """
    if header is None or _accepted(header) is None or not header.strip(b"0-"):
        return None
    return header.decode("ascii")


def envelope(
    code: Code, request_id: str, message: str | None = None, details: Mapping[str, object] | None = None
) -> bytes:
    """Return the JSON body of an error; `message` stands in for the code's own text.

    `{"error": {"code", "message", "requestId", "details"?}}`
    """
    error: dict[str, object] = {
        "code": code.name,
        "message": message or code.value.message,
        "requestId": request_id,
    }
    if details is not None:
        error["details"] = details
    return encode({"error": error})


def retry_after(
    code: Code, least_s: int | None = None, random_below: Callable[[int], int] = secrets.randbelow
) -> int | None:
    """Return the seconds of a `Retry-After`: uniform within 50 percent around the code's advice, at least 1.

    Where `least_s` is known it is uniform from there to half as much again. None for a code that gives no advice.
    `random_below(n)` returns an integer from 0 to n - 1.
    """
    middle = code.value.retry_after_s
    if middle is None:
        return None
    shortest = max(1, (middle + 1) // 2 if least_s is None else least_s)
    longest = max(shortest + 1, (middle if least_s is None else least_s) * 3 // 2)
    return shortest + random_below(longest - shortest + 1)


def error_headers(code: Code, request_id: str, body_bytes: int) -> list[Header]:
    """Return the headers that go with an `envelope` of `body_bytes`; `Retry-After` where the code advises it."""
    headers = [
        JSON_CONTENT,
        (b"content-length", b"%d" % body_bytes),
        (b"x-request-id", request_id.encode("ascii")),
    ]
    if (wait_s := retry_after(code)) is not None:
        headers.append((b"retry-after", b"%d" % wait_s))
    return headers


ALLOWED_REQUEST_HEADERS: Final = (
    "Content-Type",
    "Content-Encoding",
    "If-None-Match",
    "X-App-Id",
    "X-Api-Key",
    "X-Environment",
    "X-SDK-Version",
    "X-Session-Id",
    "X-Request-Id",
    "Authorization",
    "Idempotency-Key",
)
"""Every request header that this service reads or that its SDKs are known to send."""

_ORIGIN_BYTES_MAX: Final = 255
# An origin is a scheme, a host and perhaps a port; `file://` is what web views of packaged apps send.
_origin = re.compile(
    rb"null|file://|[A-Za-z][A-Za-z0-9+.-]*://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
).fullmatch

_VARY: Final[Header] = (b"vary", b"Origin")
_CREDENTIALS: Final[Header] = (b"access-control-allow-credentials", b"true")
_EXPOSED: Final[Header] = (b"access-control-expose-headers", b"X-Request-Id, Retry-After, ETag")
_ALLOWED: Final[Header] = (b"access-control-allow-headers", ", ".join(ALLOWED_REQUEST_HEADERS).encode("ascii"))
_MAX_AGE: Final[Header] = (b"access-control-max-age", b"86400")


def _allow_origin(origin: bytes | None) -> Header | None:
    if origin is None or len(origin) > _ORIGIN_BYTES_MAX or _origin(origin) is None:
        return None
    return (b"access-control-allow-origin", origin)


def cors_headers(origin: bytes | None) -> list[Header]:
    """Return the CORS headers of an actual answer to a request with this `Origin` header.

    The origin is echoed, with credentials allowed, because a page-hide beacon is sent in credentials mode and would be
    lost otherwise; no cookie is ever read or set. What is no origin is not echoed.
    """
    allow_origin = _allow_origin(origin)
    return [_VARY] if allow_origin is None else [_VARY, allow_origin, _CREDENTIALS, _EXPOSED]


def preflight_headers(origin: bytes | None, methods: Sequence[str]) -> list[Header]:
    """Return the headers that answer a preflight for a route with these `methods`; a browser keeps them for a day."""
    allow_origin = _allow_origin(origin)
    if allow_origin is None:
        return [_VARY]
    allow_methods = (b"access-control-allow-methods", ", ".join(methods).encode("ascii"))
    return [_VARY, allow_origin, _CREDENTIALS, allow_methods, _ALLOWED, _MAX_AGE]
