"""What a proxy says of the client's connection: who is believed, where plain HTTP is sent, and who is told to stay."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.edge.client import TrustedProxies
from ingest.edge.secure import HSTS, secured

TRUSTED = TrustedProxies.parse("10.0.0.0/8")
PROXY = "10.0.0.1"
HOST = (b"host", b"edge.example.com")
REQUEST_ID = b"req_01ARZ3NDEKTSV4RRFFQ69G5FAV"

Message = MutableMapping[str, Any]


class Asked:
    """One request through `secured`, with what came of it."""

    def __init__(self, *headers: tuple[bytes, bytes], peer: str | None = PROXY, **scope: object) -> None:
        self.sent: list[Message] = []
        self.told: list[tuple[str, int, str]] = []
        self.reached = False
        given = {
            "type": "http",
            "scheme": "http",
            "method": "POST",
            "path": "/events",
            "raw_path": b"/events",
            "query_string": b"",
            "client": None if peer is None else (peer, 4711),
            "headers": list(headers),
            **scope,
        }
        app = secured(self._app, TRUSTED, lambda _, request_id, *more: self.told.append((request_id, *more[:2])))
        asyncio.run(self._run(app(given, self._receive, self._send)))

    @staticmethod
    async def _run(answering: Any) -> None:
        await answering

    async def _app(self, _scope: Message, _receive: object, send: Any) -> None:
        self.reached = True
        await send({"type": "http.response.start", "status": 202, "headers": [(b"x-own", b"1")]})
        await send({"type": "http.response.body", "body": b"done"})

    async def _receive(self) -> Message:
        raise AssertionError("the body is not read here")

    async def _send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        """The status that was answered."""
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        """The headers that were answered."""
        return dict(self.sent[0]["headers"])

    @property
    def location(self) -> bytes | None:
        """Where the client was sent."""
        return self.headers.get(b"location")


def proto(value: bytes) -> tuple[bytes, bytes]:
    """Return the header that a proxy sets."""
    return (b"x-forwarded-proto", value)


def test_plain_http_is_sent_to_https() -> None:
    """The answer is 308 with the same host, path and query, an accepted request id, and leave to follow it."""
    asked = Asked(
        HOST,
        proto(b"http"),
        (b"x-request-id", REQUEST_ID),
        (b"origin", b"http://shop.example"),
        query_string=b"a=1&b=%2F",
    )

    assert (asked.reached, asked.status) == (False, 308)
    assert asked.location == b"https://edge.example.com/events?a=1&b=%2F"
    assert asked.headers[b"x-request-id"] == REQUEST_ID
    assert asked.headers[b"content-length"] == b"0"
    assert asked.headers[b"access-control-allow-origin"] == b"http://shop.example"
    assert HSTS[0] not in asked.headers
    assert asked.told == [(REQUEST_ID.decode(), 308, "none")]
    assert asked.sent[1]["body"] == b""


@pytest.mark.parametrize(
    ("values", "https"),
    [
        ([b"https"], True),
        ([b"HTTP"], False),
        ([b" https , http"], True),
        ([b"http,https"], False),
        ([b"wss"], None),
        ([b""], None),
        ([], None),
        ([b"wss", b"http"], False),
        ([b"https", b"http"], True),
    ],
)
def test_the_scheme_is_the_clients_own(values: list[bytes], https: bool | None) -> None:  # noqa: FBT001 - a parameter
    """Of a chain the first known scheme counts; an unknown one says nothing, and changes nothing."""
    asked = Asked(HOST, *map(proto, values))

    assert asked.reached is (https is not False)
    assert (HSTS in asked.sent[0]["headers"]) is (https is True)


@pytest.mark.parametrize("peer", ["11.0.0.1", "::1", "", None])
@pytest.mark.parametrize("value", [b"http", b"https"])
def test_an_untrusted_peer_is_not_believed(peer: str | None, value: bytes) -> None:
    """What anybody may write into a header neither redirects nor makes a browser stay on HTTPS."""
    asked = Asked(HOST, proto(value), peer=peer)

    assert (asked.reached, asked.status) == (True, 202)
    assert asked.headers == {b"x-own": b"1"}


def test_probes_are_answered_on_plain_http() -> None:
    """A balancer's probe is not sent elsewhere."""
    assert Asked(HOST, proto(b"http"), path="/health", raw_path=b"/health").reached


def test_our_own_tls_tells_by_itself() -> None:
    """Behind a proxy that speaks TLS to us the server has set the header already; it is not sent twice."""
    asked = Asked(HOST, proto(b"https"), scheme="https")

    assert asked.reached
    assert HSTS not in asked.sent[0]["headers"]


@pytest.mark.parametrize(
    ("host", "authority"),
    [
        (b"edge.example.com:8443", b"edge.example.com:8443"),
        (b"edge.example.com:80", b"edge.example.com"),
        (b"Edge_1.example.com.", b"Edge_1.example.com."),
        (b"203.0.113.9:8080", b"203.0.113.9:8080"),
        (b"[2001:db8::1]:8080", b"[2001:db8::1]:8080"),
        (b"[2001:db8::1]", b"[2001:db8::1]"),
    ],
)
def test_the_host_stays_with_its_port(host: bytes, authority: bytes) -> None:
    """Only the port of plain HTTP is left out, since nobody speaks TLS there."""
    assert Asked((b"host", host), proto(b"http")).location == b"https://" + authority + b"/events"


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [b""],
        [b"edge.example.com", b"edge.example.com"],
        [b"edge.example.com", b"evil.example"],
        *[
            [host]
            for host in (
                b"user@evil.example",
                b"edge.example.com:443@evil.example",
                b"evil.example/",
                b"evil.example?",
                b"evil.example#",
                b"evil.example\\",
                b"a b",
                b"edge..example.com",
                b".example.com",
                b"edge.example.com:",
                b"edge.example.com:http",
                b"edge.example.com:123456",
                b"edge.example.com\r\nset-cookie: a=b",
                b"edge.example.com\n",
                b"\xe4.example",
                b"[::1",
                b"[::1]evil.example",
                b"[evil.example]",
                b"%65vil.example",
                b"a" * 256,
            )
        ],
    ],
)
def test_a_host_that_is_none_is_refused(hosts: list[bytes]) -> None:
    """There is no answer that would send a client somewhere by a forged host, and nothing of it is repeated."""
    asked = Asked(*((b"host", host) for host in hosts), proto(b"http"))

    assert (asked.reached, asked.status, asked.location) == (False, 400, None)
    assert b'"BAD_REQUEST"' in asked.sent[1]["body"]
    assert asked.told[0][1:] == (400, "BAD_REQUEST")
    assert not any(host and host in asked.sent[1]["body"] for host in hosts)


@pytest.mark.parametrize("header", [b"x-forwarded-host", b"x-original-url", b"x-rewrite-url", b"forwarded", b"referer"])
def test_no_other_header_chooses_the_place(header: bytes) -> None:
    """What is known as a way to forge a redirect has no effect."""
    asked = Asked(HOST, proto(b"http"), (header, b"evil.example"))

    assert asked.location == b"https://edge.example.com/events"


@given(raw_path=st.binary(max_size=30), query=st.binary(max_size=30))
@example(raw_path=b"@evil.example/", query=b"")
@example(raw_path=b".evil.example/", query=b"")
@example(raw_path=b"//evil.example", query=b"")
@example(raw_path=b"/\r\nset-cookie:a=b", query=b"")
@example(raw_path=b"/", query=b"\r\nset-cookie:a=b")
@example(raw_path=b"", query=b"")
def test_no_target_leads_elsewhere(raw_path: bytes, query: bytes) -> None:
    """Whatever path and query are, the answer is this host's or none, on one line."""
    location = Asked(HOST, proto(b"http"), raw_path=raw_path, query_string=query).location

    if location is not None:
        assert location.startswith(b"https://edge.example.com/")
        assert all(0x21 <= byte <= 0x7E for byte in location)
