import json
import subprocess
import sys
import uuid

import pytest
from ulid import ULID

from ingest.edge.answer import (
    ALLOWED_REQUEST_HEADERS,
    RequestIds,
    accepted_request_id,
    cors_headers,
    envelope,
    error_headers,
    new_request_id,
    preflight_headers,
    retry_after,
)
from ingest.errors import Code

RETRIABLE = [code for code in Code if code.value.retry_after_s is not None]


def test_a_new_request_id_is_a_ulid_of_the_present_millisecond() -> None:
    """python-ulid reads back the millisecond and the random bits that went in."""
    milliseconds = 1_767_225_600_123
    ids = RequestIds(clock_ns=lambda: milliseconds * 1_000_000, entropy=lambda size: bytes([0b11111]) * size)

    parsed = ULID.from_str(ids.new().removeprefix("req_"))

    assert parsed.milliseconds == milliseconds
    assert parsed.bytes[6:] == b"\xff" * 10


@pytest.mark.parametrize("milliseconds", [0, 1023, 1024, 2**40 - 1, 2**48 - 1])
def test_every_millisecond_that_a_ulid_can_hold_survives(milliseconds: int) -> None:
    """The front and the pair of symbols behind it join without a gap at their border."""
    ids = RequestIds(clock_ns=lambda: milliseconds * 1_000_000)

    assert ULID.from_str(ids.new().removeprefix("req_")).milliseconds == milliseconds


def test_request_ids_follow_a_moving_clock() -> None:
    """The kept front of the time is renewed when the clock leaves it, forwards and backwards."""
    times = [5_000, 5_001, 9_000_000, 5_000]
    clock = iter(times)
    ids = RequestIds(clock_ns=lambda: next(clock) * 1_000_000)

    assert times == [ULID.from_str(ids.new().removeprefix("req_")).milliseconds for _ in times]


def test_request_ids_do_not_repeat_beyond_one_block_of_randomness() -> None:
    """A thousand ids of one millisecond are all different, and all of the accepted form."""
    ids = RequestIds(clock_ns=lambda: 0)
    made = {ids.new() for _ in range(1000)}

    assert len(made) == 1000
    assert all(accepted_request_id(request_id.encode()) == request_id for request_id in made)


_FORK = """
import os
from ingest.edge.answer import RequestIds

ids = RequestIds(clock_ns=lambda: 0)
ids.new()
child = os.fork()
if child:
    os.waitpid(child, 0)
print(ids.new(), flush=True)
"""


def test_a_forked_child_makes_other_ids_than_its_parent() -> None:
    """Randomness that was drawn before a fork is used by the parent alone."""
    printed = subprocess.run([sys.executable, "-c", _FORK], capture_output=True, check=True, text=True).stdout
    childs, parents = printed.split()

    assert accepted_request_id(childs.encode()) == childs
    assert childs != parents


@pytest.mark.parametrize(
    "header",
    [
        b"req_01ARZ3NDEKTSV4RRFFQ69G5FAV",
        b"req_7ZZZZZZZZZZZZZZZZZZZZZZZZZ",
        b"0190a6e5-2c4b-7d3e-8f10-1234567890ab",
        b"0190A6E5-2C4B-7D3E-8F10-1234567890AB",
        str(uuid.uuid4()).encode(),
    ],
)
def test_a_ulid_or_uuid_of_the_client_is_kept(header: bytes) -> None:
    """The client's own request id stays as it was sent."""
    assert header.decode() == accepted_request_id(header)


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"01ARZ3NDEKTSV4RRFFQ69G5FAV",
        b"req_01ARZ3NDEKTSV4RRFFQ69G5FA",
        b"req_01ARZ3NDEKTSV4RRFFQ69G5FAVX",
        b"req_01arz3ndektsv4rrffq69g5fav",
        b"req_01ARZ3NDEKTSV4RRFFQ69G5FAU",
        b"req_8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
        b"req_01ARZ3NDEKTSV4RRFFQ69G5FAV\n",
        b"0190a6e52c4b7d3e8f101234567890ab",
        b"{0190a6e5-2c4b-7d3e-8f10-1234567890ab}",
        b"0190a6e5-2c4b-7d3e-8f10-1234567890ag",
        b"someone@example.com",
        b"00000000-0000-0000-0000-000000000000",
        "req_01ARZ3NDEKTSV4RRFFQ69G5FA\N{FULLWIDTH DIGIT ONE}".encode(),
    ],
)
def test_any_other_request_id_is_replaced(header: bytes | None) -> None:
    """Free text of a client never becomes a request id."""
    assert accepted_request_id(header) is None


def test_an_envelope_holds_code_message_and_request_id() -> None:
    """Without a text of its own an error says what its code says, and has no `details`."""
    request_id = new_request_id()

    assert json.loads(envelope(Code.NOT_FOUND, request_id)) == {
        "error": {"code": "NOT_FOUND", "message": "There is nothing at this path.", "requestId": request_id}
    }


def test_an_envelope_takes_a_message_and_details() -> None:
    """Message and details of the caller stand in the envelope as they are given."""
    error = json.loads(envelope(Code.PAYLOAD_TOO_LARGE, "r", "Too big.", {"limit_bytes": 5}))["error"]

    assert error == {
        "code": "PAYLOAD_TOO_LARGE",
        "message": "Too big.",
        "requestId": "r",
        "details": {"limit_bytes": 5},
    }


def retry_span(code: Code, least_s: int | None = None) -> tuple[int, int]:
    """Return the shortest and the longest advice that a code can give."""
    shortest = retry_after(code, least_s, lambda _: 0)
    longest = retry_after(code, least_s, lambda bound: bound - 1)
    assert shortest is not None
    assert longest is not None
    return shortest, longest


@pytest.mark.parametrize("code", RETRIABLE)
def test_retry_advice_spreads_around_the_codes_own(code: Code) -> None:
    """The advice lies within 50 percent of its middle, is a positive number of seconds and never one constant."""
    middle = code.value.retry_after_s
    assert middle is not None
    shortest, longest = retry_span(code)

    assert 1 <= middle * 0.5 <= shortest < longest <= middle * 1.5


@pytest.mark.parametrize("least_s", [0, 1, 20])
def test_retry_advice_is_never_below_a_known_wait(least_s: int) -> None:
    """Where it is known from when a retry can succeed, the advice starts there, and still spreads."""
    shortest, longest = retry_span(Code.RATE_LIMITED, least_s)

    assert max(1, least_s) == shortest < longest


def test_a_code_without_retry_advice_gives_none() -> None:
    """A code that a retry does not help with says nothing about one."""
    assert retry_after(Code.NOT_FOUND) is None
    assert retry_after(Code.NOT_FOUND, 5) is None


@pytest.mark.parametrize("code", list(Code))
def test_error_headers_name_the_request_and_advise_a_retry_only_where_one_helps(code: Code) -> None:
    """Every error is JSON of a known length with its request id; `Retry-After` goes with the codes that advise it."""
    headers = dict(error_headers(code, "req_x", 7))

    assert headers[b"content-type"] == b"application/json"
    assert headers[b"content-length"] == b"7"
    assert headers[b"x-request-id"] == b"req_x"
    assert (b"retry-after" in headers) == (code in RETRIABLE)


@pytest.mark.parametrize(
    "origin",
    [
        b"https://app.example.com",
        b"http://localhost:3000",
        b"http://[::1]:8080",
        b"capacitor://localhost",
        b"chrome-extension://abcdefghijklmnop",
        b"file://",
        b"null",
    ],
)
def test_an_origin_is_echoed_with_credentials(origin: bytes) -> None:
    """An answer may be read by the page that asked, whichever page that is."""
    assert cors_headers(origin) == [
        (b"vary", b"Origin"),
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", b"X-Request-Id, Retry-After, ETag"),
    ]


@pytest.mark.parametrize(
    "origin",
    [
        None,
        b"",
        b"*",
        b"example.com",
        b"https://",
        b"https://example.com/path",
        b"https://example.com\r\nset-cookie: a=b",
        b"https://example.com\n",
        b"https://ex\xe4mple.com",
        b"https://user@example.com",
        b"https://" + b"a" * 300,
        b"https://a.example https://b.example",
    ],
)
def test_what_is_no_origin_is_not_echoed(origin: bytes | None) -> None:
    """Without a plausible origin only `Vary` is sent, on answers and on preflights."""
    assert cors_headers(origin) == [(b"vary", b"Origin")]
    assert preflight_headers(origin, ["POST"]) == [(b"vary", b"Origin")]


def test_a_preflight_allows_every_header_that_an_sdk_sends_for_a_day() -> None:
    """The browser learns the route's methods and all request headers, so that a beacon is not lost."""
    headers = dict(preflight_headers(b"https://example.com", ["POST", "OPTIONS"]))

    assert headers[b"access-control-allow-origin"] == b"https://example.com"
    assert headers[b"access-control-allow-credentials"] == b"true"
    assert headers[b"access-control-allow-methods"] == b"POST, OPTIONS"
    assert headers[b"access-control-max-age"] == b"86400"
    assert set(headers[b"access-control-allow-headers"].decode().split(", ")) == set(ALLOWED_REQUEST_HEADERS)
    assert {
        "X-App-Id",
        "X-Api-Key",
        "X-Environment",
        "X-SDK-Version",
        "X-Session-Id",
        "X-Request-Id",
        "Content-Type",
        "Content-Encoding",
        "If-None-Match",
    } <= set(ALLOWED_REQUEST_HEADERS)
