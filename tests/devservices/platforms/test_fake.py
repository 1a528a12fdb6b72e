"""The life of the fake platforms in this process."""

import socket
import threading

import httpx
import pytest

from devservices.errors import PortTaken, StartFailed
from devservices.platforms.fake import FakePlatforms
from devservices.ports import HOST, free_ports
from tests.devservices.platforms.wire import Client, Clock, client_of, web_event


def test_both_platforms_have_an_address(platforms: FakePlatforms, client: Client) -> None:
    """The addresses stand for the platforms' own, up to the path, and are of this machine alone."""
    assert platforms.meta_url.startswith(f"http://{HOST}:")
    assert not platforms.meta_url.endswith("/")
    answer = client.http.post(
        f"{platforms.tiktok_url}/open_api/v1.3/event/track/", json={}, headers={"Access-Token": "t"}
    )
    assert answer.json()["code"] == 40002


def test_an_outage_is_a_close_and_a_start(clock: Clock) -> None:
    """While closed nobody listens; after a start the port and what arrived are the same. Nothing stays behind."""
    with FakePlatforms(now=clock) as platforms, client_of(platforms) as client:
        client.meta(web_event())
        url = platforms.url
        platforms.close()
        platforms.close()
        with pytest.raises(httpx.TransportError):
            client.meta(web_event())
        with pytest.raises(httpx.ConnectError):
            client.meta(web_event())
        platforms.start()

        assert platforms.url == url
        assert client.meta(web_event()).status_code == 200
        assert list(platforms.ledger.times().values()) == [2]
        with pytest.raises(StartFailed):
            platforms.start()
    assert "fake-platforms" not in {thread.name for thread in threading.enumerate()}
    with socket.create_server((HOST, platforms.port)):  # raises if anyone still listens
        pass


def test_a_port_can_be_given() -> None:
    """A port that is given is used, and one that is taken is named."""
    (port,) = free_ports(1)
    with FakePlatforms(port=port) as platforms:
        assert platforms.port == port
        with pytest.raises(PortTaken, match=str(port)):
            FakePlatforms(port=port).start()


def test_before_a_start_there_is_no_port() -> None:
    """Nobody gets an address that nobody will have."""
    with pytest.raises(StartFailed):
        _ = FakePlatforms().url


def test_every_answer_takes_its_time(clock: Clock) -> None:
    """The latency of the platforms holds for each call, and not for the control surface's."""
    with FakePlatforms(now=clock, latency_ms=150) as platforms, client_of(platforms) as client:
        assert client.meta(web_event()).elapsed.total_seconds() >= 0.15
        assert client.http.get("/_calls").json()["calls"][0]["taken"] == 1


def test_calls_may_come_at_the_same_time(platforms: FakePlatforms) -> None:
    """Events of calls from several threads are all taken, each once."""

    def send(sender: int) -> None:
        with client_of(platforms) as client:
            for number in range(10):
                client.meta(*(web_event(f"e-{sender}-{number}-{at}") for at in range(20)))

    threads = [threading.Thread(target=send, args=(sender,)) for sender in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(platforms.ledger.events()) == 800
    assert platforms.ledger.repeats() == {}
