"""Each way to fail, over real HTTP, for as long as it was ordered."""

import contextlib
import socket
from collections.abc import Callable

import httpx
import pytest

from devservices.platforms.behaviour import (
    AnyBehaviour,
    Coded,
    DeadToken,
    Garbage,
    NoPermission,
    Ok,
    Refusing,
    Reset,
    Silent,
    Status,
    Throttled,
    Warned,
)
from devservices.platforms.fake import FakePlatforms
from devservices.platforms.names import Platform
from devservices.platforms.script import ORDERS_MAX, Script
from tests.devservices.platforms.wire import TOKEN, WAIT_S, Client, client_of, tiktok_event, web_event

IMPATIENT_S = 0.5


@pytest.mark.parametrize(
    ("behaviour", "meta", "tiktok"),
    [
        (Throttled(), (400, 80004, None), (200, 40100)),
        (Throttled(4), (400, 4, None), (200, 40100)),
        (Throttled(17), (400, 17, None), (200, 40100)),
        (DeadToken(), (401, 190, 463), (200, 40105)),
        (DeadToken(102, None), (401, 102, None), (200, 40105)),
        (NoPermission(), (403, 200, None), (200, 40001)),
        (Coded(21009), (400, 21009, None), (200, 21009)),
        (Coded(50000, status=500), (500, 50000, None), (500, 50000)),
        (Refusing(frozenset({"e-1"}), subcode=2804019), (400, 100, 2804019), (200, 40002)),
    ],
    ids=str,
)
def test_each_platform_fails_in_its_own_words(
    platforms: FakePlatforms,
    client: Client,
    behaviour: AnyBehaviour,
    meta: tuple[int, int, int | None],
    tiktok: tuple[int, int],
) -> None:
    """Meta answers with a status and an error, TikTok with a code; nothing is taken."""
    platforms.script.add(behaviour)
    from_meta, from_tiktok = client.meta(web_event()), client.tiktok(tiktok_event())

    error = from_meta.json()["error"]
    assert (from_meta.status_code, error["code"], error.get("error_subcode")) == meta
    assert (from_tiktok.status_code, from_tiktok.json()["code"]) == tiktok
    assert platforms.ledger.events() == []
    assert [call.taken for call in platforms.ledger.calls()] == [0, 0]


@pytest.mark.parametrize("status", [500, 502, 503, 403])
def test_a_proxy_answers_in_html(platforms: FakePlatforms, client: Client, status: int) -> None:
    """A status comes with a page that is not JSON, and with Retry-After where that is ordered."""
    platforms.script.add(Status(status, "17"), calls=1)
    platforms.script.add(Status(status))
    first, second = client.meta(web_event()), client.tiktok(tiktok_event())

    assert (first.status_code, second.status_code) == (status, status)
    assert first.headers["content-type"].startswith("text/html")
    assert first.text.startswith("<!DOCTYPE html>")
    assert (first.headers.get("retry-after"), second.headers.get("retry-after")) == ("17", None)


def test_an_error_may_say_that_it_is_transient(platforms: FakePlatforms, client: Client) -> None:
    """A coded error carries `is_transient` and Retry-After as ordered; a throttled call carries Retry-After too."""
    platforms.script.add(Coded(2, transient=True, retry_after="Wed, 21 Oct 2026 07:28:00 GMT"), calls=1)
    platforms.script.add(Throttled(retry_after="3"), calls=1)
    coded, throttled = client.meta(web_event()), client.meta(web_event())

    assert coded.json()["error"]["is_transient"] is True
    assert coded.headers["retry-after"] == "Wed, 21 Oct 2026 07:28:00 GMT"
    assert throttled.json()["error"]["is_transient"] is False
    assert throttled.headers["retry-after"] == "3"


def test_a_success_may_warn(platforms: FakePlatforms, client: Client) -> None:
    """The events are taken: Meta tells in `messages`, TikTok by code 20001."""
    platforms.script.add(Warned(("look here",)))
    from_meta, from_tiktok = client.meta(web_event()), client.tiktok(tiktok_event())

    assert from_meta.json()["events_received"] == 1
    assert from_meta.json()["messages"] == ["look here"]
    assert (from_tiktok.json()["code"], from_tiktok.json()["message"]) == (20001, "look here")
    assert len(platforms.ledger.events()) == 2


def test_an_event_is_refused_wherever_it_goes(platforms: FakePlatforms, client: Client) -> None:
    """A call with a named event is refused, again and again; without it the same call is taken."""
    platforms.script.add(Refusing(frozenset({"e-3", "e-9"})))
    events = [tiktok_event(f"e-{number}") for number in range(5)]
    refused = client.tiktok(*events).json()

    assert (refused["code"], refused["message"].split(".")[:2]) == (40002, ["data", "3"])
    assert client.tiktok(*events[2:]).json()["code"] == 40002
    assert client.tiktok(*events[:3]).json()["code"] == 0
    assert client.tiktok(events[4]).json()["code"] == 0
    assert [event.event_id for event in platforms.ledger.events()] == ["e-0", "e-1", "e-2", "e-4"]


@pytest.mark.parametrize(("taken", "events"), [(True, ["e-1"]), (False, [])])
def test_an_answer_never_comes(platforms: FakePlatforms, client: Client, taken: bool, events: list[str]) -> None:  # noqa: FBT001 - a case
    """The client runs into its timeout; whether the events were taken is as ordered, and a repeat is counted."""
    platforms.script.add(Silent(taken=taken), calls=1)
    with client_of(platforms, IMPATIENT_S) as impatient, pytest.raises(httpx.ReadTimeout):
        impatient.meta(web_event())

    assert platforms.ledger.wait_for_calls(1)
    assert [event.event_id for event in platforms.ledger.events()] == events
    assert client.meta(web_event()).json()["events_received"] == 1
    assert list(platforms.ledger.times().values()) == [2 if taken else 1]
    assert [call.status for call in platforms.ledger.calls()] == [None, 200]
    assert len(platforms.ledger.events()) == 1


@pytest.mark.parametrize(("taken", "events"), [(True, ["e-1"]), (False, [])])
def test_a_connection_is_reset(platforms: FakePlatforms, client: Client, taken: bool, events: list[str]) -> None:  # noqa: FBT001 - a case
    """The client sees a reset and no answer; whether the events were taken is as ordered."""
    platforms.script.add(Reset(taken=taken), calls=1)
    with pytest.raises(httpx.ReadError) as seen:
        client.meta(web_event())

    causes = [seen.value.__context__, getattr(seen.value.__context__, "__context__", None)]
    assert any(isinstance(cause, ConnectionResetError) for cause in causes)
    assert [event.event_id for event in platforms.ledger.events()] == events
    assert client.meta(web_event()).status_code == 200


@pytest.mark.parametrize("taken", [True, False])
def test_a_body_is_garbage(platforms: FakePlatforms, client: Client, taken: bool) -> None:  # noqa: FBT001 - a case
    """The status says success and the body says nothing; whether the events were taken is as ordered."""
    platforms.script.add(Garbage(taken=taken))
    answers = [client.meta(web_event()), client.tiktok(tiktok_event())]

    for answer in answers:
        assert answer.status_code == 200
        with pytest.raises(ValueError):
            answer.json()
    assert len(platforms.ledger.events()) == (2 if taken else 0)


def test_a_slow_answer_comes(platforms: FakePlatforms, client: Client) -> None:
    """A client that does not wait for it has sent its events; one that waits gets its answer."""
    platforms.script.add(Ok(latency_ms=int(IMPATIENT_S * 1500)))
    with client_of(platforms, IMPATIENT_S) as impatient, pytest.raises(httpx.ReadTimeout):
        impatient.tiktok(tiktok_event())

    assert platforms.ledger.wait_for_calls(1)
    assert [event.event_id for event in platforms.ledger.events()] == ["e-1"]
    answer = client.tiktok(tiktok_event("e-2"))
    assert answer.json()["code"] == 0
    assert answer.elapsed.total_seconds() >= IMPATIENT_S * 1.5


@pytest.mark.parametrize("behaviour", [Silent(taken=True), Ok(latency_ms=300_000)], ids=str)
def test_an_end_waits_for_nobody(behaviour: AnyBehaviour) -> None:
    """Who waits for an answer when the platforms end loses the connection at once."""
    with socket.socket() as waiting:
        with FakePlatforms() as platforms:
            platforms.script.add(behaviour)
            waiting.settimeout(WAIT_S)
            waiting.connect(("127.0.0.1", platforms.port))
            waiting.sendall(b"POST /v26.0/1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}")
            assert platforms.ledger.wait_for_calls(1)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            received = waiting.recv(1)

    assert received == b""


def test_orders_concern_whom_they_name(platforms: FakePlatforms, client: Client) -> None:
    """Platform, token and destination each narrow an order; what is not meant goes through."""
    platforms.script.add(Status(500), platform=Platform.META, token=TOKEN, destination="1")

    assert client.meta(web_event(), dataset="1").status_code == 500
    assert client.meta(web_event(), dataset="2").status_code == 200
    assert client.meta(web_event(), dataset="1", token="other").status_code == 200
    assert client.tiktok(tiktok_event(), source_id="1").status_code == 200


def _statuses(script: Script, count: int) -> list[int]:
    found = (script.next(Platform.META, "t", "1") for _ in range(count))
    return [behaviour.status if isinstance(behaviour, Status) else 200 for behaviour in found]


def test_orders_for_a_number_of_calls_are_a_sequence() -> None:
    """They are used up in their order, before the standing order; of those the last counts."""
    script = Script()
    script.add(Status(501))
    script.add(Status(502), calls=2)
    script.add(Status(503), calls=1)
    script.add(Status(504))

    assert [(order.calls) for order in script.orders()] == [2, 1, None, None]
    assert _statuses(script, 6) == [502, 502, 503, 504, 504, 504]
    script.add(Ok())
    assert _statuses(script, 2) == [200, 200]
    script.clear()
    assert script.orders() == []


def test_orders_have_a_bound() -> None:
    """A test that orders without end is told."""
    script = Script()
    order: Callable[[], None] = lambda: script.add(Ok(), calls=1)  # noqa: E731 - shorter than a function
    for _ in range(ORDERS_MAX):
        order()

    with pytest.raises(ValueError, match="already"):
        order()
