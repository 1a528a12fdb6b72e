"""How connections end: what is not HTTP, clients that leave by half or for good, and answers before the body."""

import logging
import socket
import struct
from collections.abc import Iterator

import pytest

from ingest.edge import linger
from tests.ingest.edge.served import (
    PATIENT,
    WAIT_S,
    Served,
    answers,
    assert_error,
    chunked,
    post,
    read_answers,
    read_to_end,
    serving,
)

MIB = 1024 * 1024


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> str:
    """Every law holds on both event loops."""
    return str(request.param)


@pytest.fixture(scope="module")
def running(loop: str) -> Iterator[Served]:
    """Serve without hurry, so that nothing here ends for its time."""
    with serving(loop, PATIENT) as served:
        yield served


@pytest.fixture
def served(running: Served, caplog: pytest.LogCaptureFixture) -> Iterator[Served]:
    """Hand out the server with a clean record; nothing that a client does is worth a warning."""
    yield running
    running.settle()
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING] == []


MALFORMED = {
    "words": b"marker marker marker\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01marker",
    "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmarker",
    "unknown method": b"MARKER / HTTP/1.1\r\n\r\n",
    "unknown version": b"GET /marker HTTP/4.7\r\n\r\n",
    "no path": b"GET http://marker HTTP/1.1\r\n\r\n",
    "bad port": b"GET http://marker:99999/ HTTP/1.1\r\n\r\n",
    "target not ascii": "GET /märker HTTP/1.1\r\n\r\n".encode(),
    "target without slash": b"GET marker HTTP/1.1\r\n\r\n",
    "tunnel": b"CONNECT marker:443 HTTP/1.1\r\nhost: marker\r\n\r\n",
    "control byte in header": b"GET / HTTP/1.1\r\nmarker: a\x01b\r\n\r\n",
    "space in header name": b"GET / HTTP/1.1\r\nmarker marker: a\r\n\r\n",
    "header without colon": b"GET / HTTP/1.1\r\nmarker\r\n\r\n",
    "folded header": b"GET / HTTP/1.1\r\na: marker\r\n marker\r\n\r\n",
    "length no number": b"POST /echo HTTP/1.1\r\ncontent-length: marker\r\n\r\n",
    "length negative": b"POST /echo HTTP/1.1\r\ncontent-length: -1\r\n\r\nmarker",
    "length too long": b"POST /echo HTTP/1.1\r\ncontent-length: 99999999999999999999999\r\n\r\nmarker",
    "two lengths": b"POST /echo HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nmarker",
    "length and chunks": b"POST /echo HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\nmarker",
    "chunk size no number": chunked("/echo", b"marker\r\n"),
    "chunk without end": chunked("/echo", b"3\r\nabcmarker\r\n"),
    "chunk size too long": chunked("/echo", b"fffffffffffffffffffff\r\nmarker"),
}


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED)
def test_what_is_not_http_gets_the_error_envelope(served: Served, sent: bytes, *, whole: bool) -> None:
    """In one piece or in several: a 400 as JSON with its request id, nothing of the input in it, then the end."""
    pieces = [sent] if whole else [sent[at : at + 7] for at in range(0, len(sent), 7)]
    received = served.talk(*pieces)

    assert_error(received, 400, "BAD_REQUEST")
    assert b"marker" not in received.lower()
    assert served.refused == ["malformed"]


def test_a_body_that_breaks_off_into_nonsense_ends_the_request(served: Served) -> None:
    """The app, already reading, is told of a disconnect, and the client gets a 400."""
    with served.connect() as client:
        client.sendall(chunked("/echo", b"3\r\nabc\r\n"))
        for _ in range(2):
            assert served.reading.acquire(timeout=WAIT_S)
        client.sendall(b"nonsense")

        assert_error(read_to_end(client), 400, "BAD_REQUEST")
    assert served.disconnects.acquire(timeout=WAIT_S)


def test_nonsense_behind_a_request_does_not_cost_its_answer(served: Served) -> None:
    """What was complete is answered, and only that; then the connection ends."""
    found = answers(served.talk(post("/one") + post("/two") + b"nonsense\r\n" + b"x" * MIB))

    assert [each.json()["path"] for each in found] == ["/one", "/two"]
    assert found[-1].headers["connection"] == "close"


def test_a_nonsense_body_behind_an_unanswered_request_ends_the_connection(served: Served) -> None:
    """Where an answer would mix with another, there is none."""
    assert served.talk(post("/gated") + chunked("/echo", b"nonsense\r\n")) == b""


@pytest.mark.parametrize("request_count", [1, 3])
def test_a_client_that_has_shut_its_write_side_gets_its_answers(served: Served, request_count: int) -> None:
    """A half-closed connection stays open until the last answer is out."""
    with served.connect() as client:
        client.sendall(post("/gated", b"body"))
        assert served.gate_waits.acquire(timeout=WAIT_S)
        client.sendall(b"".join(post(f"/{n}") for n in range(1, request_count)))
        client.shutdown(socket.SHUT_WR)
        if request_count == 1:
            assert served.eof.acquire(timeout=WAIT_S)
        served.open_gate()
        found = answers(read_to_end(client))

    assert ["/gated", "/1", "/2"][:request_count] == [each.json()["path"] for each in found]


@pytest.mark.parametrize("begun", [b"", b"POST /echo HT", post("/echo", b"whole")[:-1]])
def test_a_request_that_is_cut_off_is_not_answered(served: Served, begun: bytes) -> None:
    """An end before the end of the request closes the connection without a word."""
    with served.connect() as client:
        client.sendall(begun)
        client.shutdown(socket.SHUT_WR)

        assert read_to_end(client) == b""
    assert served.refused == []


def test_a_reset_ends_the_request_and_nothing_else(served: Served) -> None:
    """A client that vanishes in its body is a disconnect for the app; others are served as before."""
    with served.connect() as client:
        client.sendall(post("/echo", b"x" * 1000)[:-1])
        assert served.reading.acquire(timeout=WAIT_S)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert served.disconnects.acquire(timeout=WAIT_S)
    with served.connect() as client:
        client.sendall(post("/echo"))

        assert read_answers(client, 1)[0].status == 200


EARLY = {
    "length": post("/early", b"x" * 5 * MIB),
    "chunks": chunked("/early", *[b"10000\r\n" + b"x" * 0x10000 + b"\r\n"] * 80),
    "expecting to continue": post("/early", b"x" * 5 * MIB, "expect: 100-continue"),
    "not http": b"nonsense" * (MIB // 2),
}


@pytest.mark.parametrize("sent", EARLY.values(), ids=EARLY)
def test_an_early_answer_can_be_read_by_a_client_that_is_still_sending(served: Served, sent: bytes) -> None:
    """A client that sends all of a large body before it looks for the answer gets the whole answer."""
    with served.connect() as client:
        client.sendall(sent[:1000])
        assert client.recv(1, socket.MSG_PEEK)
        client.sendall(sent[1000:])
        (only,) = answers(read_to_end(client))

    assert only.headers["connection"] == "close"
    assert only.status in {400, 413}
    assert served.lost.acquire(timeout=WAIT_S)


def test_an_early_answer_to_a_whole_request_leaves_the_connection_open(served: Served) -> None:
    """A body that has arrived, though nobody read it, is no reason to end the connection."""
    with served.connect() as client:
        client.sendall(post("/early", b"x" * 1000) + post("/echo"))

        assert [each.status for each in read_answers(client, 2)] == [413, 200]


def test_what_a_client_sends_behind_its_answer_is_bounded_in_bytes(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body without end is cut off."""
    monkeypatch.setattr(linger, "LINGER_BYTES_MAX", MIB)
    pieces = [b"10000\r\n" + b"x" * 0x10000 + b"\r\n"] * 1000
    with pytest.raises(ConnectionError):
        served.talk(chunked("/early"), *pieces)
    assert served.lost.acquire(timeout=WAIT_S)


def test_what_a_client_sends_behind_its_answer_is_bounded_in_time(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that neither sends on nor closes is left."""
    monkeypatch.setattr(linger, "LINGER_MS_MAX", 50)
    with served.connect() as client:
        client.sendall(post("/early", b"x" * 1000)[:-1])
        (only,) = answers(read_to_end(client))

        assert only.status == 413
        assert served.lost.acquire(timeout=WAIT_S)


def test_a_request_in_flight_is_answered_at_shutdown(loop: str) -> None:
    """A server that stops answers what it has begun, then ends the connection; idle ones end at once."""
    with serving(loop, PATIENT) as served, served.connect() as busy, served.connect() as idle:
        busy.sendall(post("/gated"))
        assert served.gate_waits.acquire(timeout=WAIT_S)
        served.stop()
        assert read_to_end(idle) == b""
        served.open_gate()
        (only,) = answers(read_to_end(busy))

    assert (only.status, only.headers["connection"]) == (200, "close")
