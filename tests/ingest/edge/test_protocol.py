import logging
import select
from collections.abc import Iterator

import pytest

from ingest.edge.protocol import PIPELINED_REQUESTS_MAX, ConnectionLimits
from tests.ingest.edge.served import (
    PATIENT,
    SMALL,
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

KIB = 1024


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> str:
    """Every law holds on both event loops."""
    return str(request.param)


@pytest.fixture(scope="module")
def running(loop: str) -> Iterator[Served]:
    """Serve with small limits."""
    with serving(loop, SMALL) as served:
        yield served


@pytest.fixture
def served(running: Served, caplog: pytest.LogCaptureFixture) -> Iterator[Served]:
    """Hand out the server with a clean record; nothing that a client does is worth a warning."""
    yield running
    running.settle()
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING] == []


# Requests as they should be


def test_requests_follow_each_other_on_one_connection(served: Served) -> None:
    """A connection lives on after an answer, and complete heads cost no timer but the connection's first."""
    with served.connect() as client:
        for size in (0, 10, 100 * KIB):
            client.sendall(post("/echo", b"x" * size))
            (only,) = read_answers(client, 1)

            assert (only.status, only.json()["bytes"]) == (200, size)
            assert "connection" not in only.headers
    assert served.heads_awaited == 1


def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    """Requests that come in one piece get their answers one after the other."""
    with served.connect() as client:
        client.sendall(b"".join(post(f"/{n}", b"x" * n) for n in range(5)))
        found = read_answers(client, 5)

    assert [f"/{n}" for n in range(5)] == [each.json()["path"] for each in found]
    assert list(range(5)) == [each.json()["bytes"] for each in found]


def test_pipelined_requests_are_bounded(served: Served) -> None:
    """The first and the allowed number behind it are answered, then the connection ends without reading the others."""
    found = answers(served.talk(b"".join(post(f"/{n}") for n in range(500))))

    assert [f"/{n}" for n in range(PIPELINED_REQUESTS_MAX + 1)] == [each.json()["path"] for each in found]
    assert found[-1].headers["connection"] == "close"
    assert served.refused == ["pipelined"]


@pytest.mark.parametrize(
    ("wish", "value"), [("h2c", "Upgrade, HTTP2-Settings"), ("websocket", "Upgrade"), ("anything", "upgrade")]
)
def test_the_wish_to_upgrade_is_ignored(served: Served, wish: str, value: str) -> None:
    """A request that offers another protocol is answered as it is, body included, and the connection lives on."""
    headers = (f"upgrade: {wish}", f"connection: {value}", "x-app-id: app_demo")
    request = post("/echo", b"x" * 5000, *headers)
    with served.connect() as client:
        client.sendall(request + request[:50])
        (first,) = read_answers(client, 1)
        client.sendall(request[50:] + post("/plain"))
        second, third = read_answers(client, 2)

    assert (first.status, first.json()["bytes"]) == (200, 5000)
    assert "x-app-id" in first.json()["headers"]
    assert (second.status, second.json()["bytes"]) == (200, 5000)
    assert third.json()["path"] == "/plain"


def test_a_chunked_body_survives_the_wish_to_upgrade(served: Served) -> None:
    """The framing of the body stays what the client said it is."""
    head = b"POST /echo HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\ntransfer-encoding: chunked\r\n\r\n"
    with served.connect() as client:
        client.sendall(head + b"3\r\nabc\r\n")
        client.sendall(b"2\r\nde\r\n0\r\n\r\n")

        assert read_answers(client, 1)[0].json()["body"] == "abcde"


def test_absolute_targets_are_read(served: Served) -> None:
    """A target with scheme and host names the same path."""
    with served.connect() as client:
        client.sendall(b"GET http://edge/echo?a=b HTTP/1.1\r\nhost: edge\r\n\r\n")

        assert read_answers(client, 1)[0].json()["path"] == "/echo"


# Bytes


def test_a_large_body_does_not_count_as_head(served: Served) -> None:
    """A head below the bound passes with a body far above it in the same piece."""
    with served.connect() as client:
        client.sendall(post("/echo", b"x" * 60 * KIB, "a: " + "b" * (SMALL.header_bytes_max - 200)))

        assert read_answers(client, 1)[0].json()["bytes"] == 60 * KIB


LARGE_HEADS = {
    "value": post("/echo", b"", "a: " + "b" * SMALL.header_bytes_max),
    "with body": post("/echo", b"x" * 60 * KIB, "a: " + "b" * SMALL.header_bytes_max),
    "target": b"GET /" + b"a" * SMALL.header_bytes_max + b" HTTP/1.1\r\n\r\n",
    "many": b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 1000 + b"\r\n",
    "megabyte": b"GET / HTTP/1.1\r\na: " + b"b" * KIB * KIB,
    "endless target": b"GET /" + b"a" * 100 * KIB,
    "endless white space": b"\r\n" * 100 * KIB,
    "name": b"GET / HTTP/1.1\r\n" + b"a" * 100 * KIB,
}


@pytest.mark.parametrize("pieces", [1, 100])
@pytest.mark.parametrize("head", LARGE_HEADS.values(), ids=LARGE_HEADS)
def test_a_large_head_is_refused(served: Served, head: bytes, pieces: int) -> None:
    """Above the bound, in one piece or in many, the client gets and can read a 400."""
    step = len(head) // pieces + 1
    received = served.talk(*(head[at : at + step] for at in range(0, len(head), step)))

    assert_error(received, 400, "BAD_REQUEST")
    assert served.refused == ["header_bytes"]


def test_the_second_of_two_pipelined_heads_is_bounded_too(served: Served) -> None:
    """A small head does not open the door for a large one behind it in the same piece."""
    found = answers(served.talk(post("/echo") + LARGE_HEADS["value"]))

    assert [each.status for each in found] == [200]
    assert served.refused == ["header_bytes"]


def test_trailers_are_no_headers(served: Served) -> None:
    """The trailers of a chunked body are read over, and cannot pass for headers."""
    with served.connect() as client:
        client.sendall(chunked("/echo", b"3\r\nabc\r\n0\r\nx-app-id: app_other\r\n\r\n") + post("/next"))
        first, second = read_answers(client, 2)

    assert first.json()["body"] == "abc"
    assert "x-app-id" not in first.json()["headers"]
    assert second.json()["path"] == "/next"


LARGE_FRAMES = {
    "trailers": [b"0\r\n", *[b"a: b\r\n"] * 1000, b"\r\n"],
    "trailer": [b"0\r\na: ", *[b"b" * KIB] * 20],
    "chunk extension": [b"1;a=", *[b"b" * KIB] * 20],
}


@pytest.mark.parametrize("joined", [True, False])
@pytest.mark.parametrize("frames", LARGE_FRAMES.values(), ids=LARGE_FRAMES)
def test_what_surrounds_a_chunked_body_is_bounded(served: Served, frames: list[bytes], *, joined: bool) -> None:
    """Trailers and chunk headers have the bound of a head, in one piece or in many; the app is told of the end."""
    with served.connect() as client:
        client.sendall(chunked("/echo", b"3\r\nabc\r\n"))
        for _ in range(2):  # until the app has the first piece of the body and waits for more
            assert served.reading.acquire(timeout=WAIT_S)
        for piece in [b"".join(frames)] if joined else frames:
            client.sendall(piece)

        assert_error(read_to_end(client), 400, "BAD_REQUEST")
    assert served.disconnects.acquire(timeout=WAIT_S)


# Time


@pytest.mark.parametrize("begun", [b"P", b"POST /echo HTTP/1.1\r\nhost: edge\r\n", b"\r\n"])
def test_a_head_that_does_not_end_in_time_is_answered(served: Served, begun: bytes) -> None:
    """A client that begins a request and stops gets a 408."""
    assert_error(served.talk(begun), 408, "BODY_TIMEOUT")
    assert served.refused == ["header_time"]


def test_a_trickle_does_not_move_the_deadline(served: Served) -> None:
    """A byte now and then does not keep a head open."""
    with served.connect() as client:
        sent = 0
        while not select.select([client], [], [], 0.02)[0]:
            client.sendall(b"GET / HTTP/1.1\r\na: "[sent : sent + 1] or b"b")
            sent += 1

        assert_error(read_to_end(client), 408, "BODY_TIMEOUT")
    assert 1 < sent < 100


def test_a_further_head_has_a_deadline_too(served: Served) -> None:
    """Also on a connection that has been used, a request that was begun must go on."""
    with served.connect() as client:
        client.sendall(post("/echo") + b"GET")
        first, second = answers(read_to_end(client))

    assert (first.status, second.status) == (200, 408)


def test_a_connection_that_asks_nothing_is_closed_without_a_word(served: Served) -> None:
    """An answer to nothing could be taken for the answer to a request that was sent just then."""
    assert served.talk() == b""
    assert served.refused == []


def test_the_head_behind_a_slow_request_is_not_late(loop: str) -> None:
    """While earlier requests are answered the next one's time does not run out, and no 408 gets among the answers."""
    with serving(loop, SMALL._replace(header_timeout_ms=1)) as served, served.connect() as client:
        client.sendall(post("/gated") + b"POST /next HTTP/1.1\r\n")
        while served.heads_awaited < 5:
            assert not select.select([client], [], [], 0.01)[0]
        client.sendall(b"content-length: 0\r\n\r\n")
        served.open_gate()

        assert [each.json()["path"] for each in read_answers(client, 2)] == ["/gated", "/next"]


# Connections


def test_connections_beyond_the_bound_are_turned_away(loop: str) -> None:
    """One too many gets a 503 with jittered advice at once; when another has ended there is room again."""
    with serving(loop, ConnectionLimits(4096, 60_000, 2)) as served:
        first, second = served.connect(), served.connect()
        with second:
            with first:
                for client in (first, second):
                    client.sendall(post("/echo"))
                    read_answers(client, 1)
                received = served.talk()

                assert_error(received, 503, "OVERLOADED")
                assert 1 <= int(answers(received)[0].headers["retry-after"]) <= 3
                assert served.refused == ["connections"]
            assert served.lost.acquire(timeout=WAIT_S)
            assert served.lost.acquire(timeout=WAIT_S)
            with served.connect() as third:
                third.sendall(post("/echo"))

                assert read_answers(third, 1)[0].status == 200


def test_idle_connections_do_not_hinder_others(loop: str) -> None:
    """Two thousand connections that say nothing, or half a head, leave room and time for those that ask."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 6000
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip("the system allows too few open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    idle = []
    try:
        with serving(loop, PATIENT) as served:
            for number in range(2000):
                idle.append(served.connect())
                if number % 2:
                    idle[-1].sendall(b"POST /events HT")
            with served.connect() as client:
                for _ in range(20):
                    client.sendall(post("/echo", b"x" * KIB))
                    assert read_answers(client, 1)[0].status == 200
            for each in idle:
                each.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
